"""The few numbers that say what a table found, for the terminal and for the report."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resanalysis.statistics.path_length import central_interval

Headlines = list[tuple[str, str]]
"""Pairs of a label and its value, in the order to read them."""


def headlines(stem: str, frame: pd.DataFrame) -> Headlines:
    """Headline numbers of the table ``STEM.csv``; of a table we know nothing about, its size."""
    match stem:
        case "lesion":
            return _lesion(frame)
        case "lesion_many":
            return _lesion_many(frame)
        case "reorder":
            return _reorder(frame)
        case "paths":
            return _paths(frame)
        case "inspect":
            return _inspect(frame)
        case "gradients":
            return _gradients(frame)
        case "unit_share":
            return _unit_share(frame)
        case "rearrange":
            return _rearrange(frame)
        case "response":
            return _response(frame)
        case "stream":
            return _stream(frame)
        case "prune":
            return _prune(frame)
        case "history":
            return _history(frame)
        case _:
            return [("rows", str(len(frame)))]


def _column(frame: pd.DataFrame, name: str) -> NDArray[np.float64]:
    return np.asarray(frame[name], dtype=np.float64)


def _percent(rate: Any) -> str:
    return f"{100 * float(rate):.2f} %"


def _lesion(frame: pd.DataFrame) -> Headlines:
    records: list[dict[str, Any]] = [
        {str(key): value for key, value in row.items()} for row in frame.to_dict("records")
    ]
    intact = next(row for row in records if row["unit"] == -1)
    units = [row for row in records if row["unit"] >= 0]
    rows = [
        (
            "intact error",
            f"{_percent(intact['error'])}  "
            f"(95 %: {100 * intact['error_low']:.2f} to {100 * intact['error_high']:.2f})",
        )
    ]
    measured = [row for row in units if row["error"] == row["error"]]  # NaN: cannot be deleted
    rows += _perplexity(intact, measured)
    if not measured:
        return rows
    rows.append(("median, one unit deleted", _percent(np.median([r["error"] for r in measured]))))
    significant = sum(row["p_holm"] < 0.05 for row in measured)
    rows.append(("units that change it (Holm, 5 %)", f"{significant} of {len(measured)}"))
    for row in sorted(measured, key=lambda row: -row["error"])[:3]:
        mark = ", transition" if row["transition"] else ""
        rows.append(
            (
                f"without {row['unit']} ({row['name']}{mark})",
                f"{_percent(row['error'])}  ({100 * row['delta']:+.2f} points: "
                f"{100 * row['delta_low']:+.2f} to {100 * row['delta_high']:+.2f})",
            )
        )
    return rows


def _perplexity(intact: dict[str, Any], measured: list[dict[str, Any]]) -> Headlines:
    """Of a language model: the perplexity of the whole, and without the unit that it needs most."""
    if "perplexity" not in intact:
        return []

    def text(row: dict[str, Any]) -> str:
        interval = f"{row['perplexity_low']:.4g} to {row['perplexity_high']:.4g}"
        return f"{row['perplexity']:.4g}" + (
            f"  (95 %: {interval})" if "nan" not in interval else ""
        )

    rows: Headlines = [("intact perplexity", text(intact))]
    if measured:
        middle = float(np.median([row["perplexity"] for row in measured]))
        worst = max(measured, key=lambda row: row["perplexity"])
        rows.append(("median perplexity, one unit deleted", f"{middle:.4g}"))
        rows.append((f"perplexity without {worst['unit']} ({worst['name']})", text(worst)))
    return rows


def _lesion_many(frame: pd.DataFrame) -> Headlines:
    removed, error = _column(frame, "removed"), _column(frame, "error")
    eligible = np.asarray(frame["transitions_eligible"], dtype=bool)
    rows: Headlines = []
    if len(frame) and "intact_error" in frame:
        rows.append(("intact error", _percent(frame["intact_error"].iloc[0])))
    sizes = np.unique(removed)
    shown = sizes[[0, len(sizes) // 4, len(sizes) // 2, -1]] if len(sizes) else sizes
    for with_transitions in (True, False):
        for size in np.unique(shown):
            errors = error[(removed == size) & (eligible == with_transitions)]
            if len(errors):
                low, middle, high = np.quantile(errors, [0.25, 0.5, 0.75])
                rows.append(
                    (
                        f"{size:.0f} deleted{'' if with_transitions else ', no transitions'}",
                        f"median {_percent(middle)}  (quartiles {100 * low:.2f} to "
                        f"{100 * high:.2f}; {len(errors)} draws)",
                    )
                )
    return rows


def _reorder(frame: pd.DataFrame) -> Headlines:
    from scipy.stats import spearmanr

    swaps = _column(frame, "swaps")
    tau, error = _column(frame, "kendall_tau"), _column(frame, "error")
    rows: Headlines = []
    if np.any(swaps == 0):
        rows.append(("intact error", _percent(error[swaps == 0][0])))
    tau, error = tau[swaps > 0], error[swaps > 0]
    if not len(tau):
        return rows
    rows.append(("orders", str(len(tau))))
    rows.append(("Kendall tau", f"{tau.min():.3f} to {tau.max():.3f}"))
    rows.append(("error", f"{_percent(error.min())} to {_percent(error.max())}"))
    if len(np.unique(tau)) > 1 and len(np.unique(error)) > 1:
        correlation = float(np.asarray(spearmanr(tau, error))[0])
        rows.append(("rank correlation of error and tau (Spearman)", f"{correlation:+.3f}"))
    return rows


def _paths(frame: pd.DataFrame) -> Headlines:
    length, probability = _column(frame, "length"), _column(frame, "probability")
    units = int(length.max())

    def between(low: int, high: int) -> float:
        return float(probability[(length >= low) & (length <= high)].sum())

    low, high = central_interval([float(share) for share in probability])
    rows = [
        ("units", str(units)),
        ("paths", f"2^{units} = {2**units}" if units <= 64 else f"2^{units}"),
        ("mean length", f"{float(length @ probability):.6g} units"),
        ("95 % of paths", f"{low} to {high} units (they hold {_percent(between(low, high))})"),
    ]
    if units == 54:  # the two shares that Veit et al. publish for the 110-layer network
        rows.append(("P(19 ≤ length ≤ 35)", f"{between(19, 35):.5f}"))
        rows.append(("P(5 ≤ length ≤ 17)", f"{between(5, 17):.7f}"))
    return rows


def _gradients(frame: pd.DataFrame) -> Headlines:
    facts = frame.attrs
    rows: Headlines = []
    for name, label in (("exact", "exact sum"), ("upper", "count × mean norm")):
        if f"effective_{name}" in facts:
            low, high = facts[f"effective_{name}"]
            rows.append((f"effective lengths, {label}", f"{low} to {high} units hold 95 %"))
            rows.append(
                (
                    f"mean length, {label}",
                    f"{facts[f'mean_length_{name}']:.2f} units, peak at {facts[f'peak_{name}']}",
                )
            )
    for name, label in (("mean", "mean norm"), ("rms", "root mean square")):
        if f"decay_{name}" in facts:
            factor, low, high = facts[f"decay_{name}"]
            rows.append(
                (f"{label} per unit entered", f"× {factor:.3f} (95 %: {low:.3f} to {high:.3f})")
            )
    uncertain = facts.get("uncertain_lengths") or []
    if uncertain:
        rows.append(
            ("lengths whose mean is uncertain", " ".join(str(length) for length in uncertain))
        )
    return rows or [("lengths", str(len(frame)))]


def _unit_share(frame: pd.DataFrame) -> Headlines:
    unit, share = _column(frame, "unit").astype(int), _column(frame, "share")
    names = dict(zip(unit, frame["name"], strict=True))
    total = {number: float(share[unit == number].sum()) for number in names}
    first = sorted(total, key=lambda number: -total[number])[:3]
    return [
        (f"gradient through unit {number} ({names[number]})", _percent(total[number]))
        for number in first
    ]


def _inspect(frame: pd.DataFrame) -> Headlines:
    transitions = [
        f"{unit} ({name})"
        for unit, name, there in zip(frame["unit"], frame["name"], frame["transition"], strict=True)
        if there
    ]
    skips = Counter(frame["skip"])
    rows = [
        ("units", str(len(frame))),
        ("paths", f"2^{len(frame)}"),
        ("stages", str(len(set(frame["stage"])))),
        ("skips", ", ".join(f"{count} {kind}" for kind, count in skips.most_common())),
    ]
    if transitions:
        rows.append(("transitions", ", ".join(transitions)))
    rows.append(("parameters in units", f"{int(_column(frame, 'parameters').sum()):,}"))
    if "flops" in frame and not np.isnan(_column(frame, "flops")).any():
        rows.append(
            ("operations of the units, one example", f"{_column(frame, 'flops').sum():.4g} FLOPs")
        )
    return rows


def _response(frame: pd.DataFrame) -> Headlines:
    rows: Headlines = []
    for model, layers in frame.groupby("model", sort=False):
        ran = layers.loc[layers["std"].notna()]
        std = _column(ran, "std")
        if not len(std):
            rows.append((str(model), "no layer ran"))
            continue
        top = ran.iloc[int(std.argmax())]
        rows.append(
            (
                str(model),
                f"{len(ran)} layers, median std {np.median(std):.3g}, largest {top['std']:.3g} "
                f"(layer {int(top['layer'])}, {top['name']})",
            )
        )
        if len(ran) < len(layers):
            rows.append(
                (f"{model}: never ran", ", ".join(layers.loc[layers["std"].isna(), "name"]))
            )
    for row in frame.attrs.get("distance", []):
        rows.append(
            (
                f"{row['model']} against {row['net']}, {'layers' if row['order'] == 'orig' else 'sorted'}",
                f"median ratio {row['median_ratio']:.2f}, rms log ratio {row['rms_log_ratio']:.2f}, "
                f"correlation {row['correlation']:.2f}  ({row['layers']} layers)",
            )
        )
    return rows


def _stream(frame: pd.DataFrame) -> Headlines:
    rows: Headlines = []
    ratio, influence = _column(frame, "ratio"), _column(frame, "influence")
    if np.isfinite(ratio).any():
        low, high = np.nanmin(ratio), np.nanmax(ratio)
        rows.append(
            ("branch / skip norm", f"{low:.3g} to {high:.3g}, median {np.nanmedian(ratio):.3g}")
        )
    if np.isfinite(influence).any():
        least = np.argsort(np.where(np.isfinite(influence), influence, np.inf))[:3]
        rows.append(
            (
                "least influence",
                ", ".join(f"{u} ({frame['name'].iloc[u]}: {influence[u]:.3g})" for u in least),
            )
        )
    found = [row for row in frame.attrs.get("predicts", []) if row["method"] == "spearman"]
    damage = "loss" if any(row["damage"] == "loss" for row in found) else "error"
    ranked = sorted(
        (row for row in found if row["damage"] == damage), key=lambda row: -abs(row["correlation"])
    )
    for row in ranked[:3]:
        rows.append(
            (
                f"{row['measure']} with damage ({damage})",
                f"Spearman {row['correlation']:+.2f}  "
                f"({row['correlation_low']:+.2f} to {row['correlation_high']:+.2f}; {row['units']} units)",
            )
        )
    return rows


def _rearrange(frame: pd.DataFrame) -> Headlines:
    kind, score = frame["kind"].to_numpy(), _column(frame, "score")
    touched = _column(frame, "touched").astype(int)
    error, chance = (float(frame[name].iloc[0]) for name in ("intact_error", "chance"))
    rows: Headlines = [] if np.isnan(error) else [("intact error", _percent(error))]
    rows.append(("answers that are right by chance", _percent(chance)))
    sizes = np.unique(touched[(kind != "swap") & (touched > 0)])
    if len(sizes):
        half = int(sizes[np.abs(sizes - sizes[-1] / 2).argmin()])
        at = {
            name: score[(kind == name) & (touched == half)]
            for name in dict.fromkeys(kind)
            if name not in ("intact", "swap")
        }
        for name, values in sorted(at.items(), key=lambda item: -item[1].mean()):
            value = f"{values.mean():.3f}"
            if len(values) > 1:
                value += f"  ({len(values)} orders: {values.min():.3f} to {values.max():.3f})"
            else:
                row = frame.loc[(kind == name) & (touched == half)].iloc[0]
                value += f"  (95 %: {row['score_low']:.3f} to {row['score_high']:.3f})"
            rows.append((f"score, {name}, {half} units touched", value))
    swaps = frame.loc[kind == "swap"]
    if len(swaps):
        worst = swaps.iloc[int(np.argmin(swaps["score"].to_numpy()))]
        rows.append((f"worst swap: units {worst['units']}", f"{worst['score']:.3f}"))
    return rows


def _prune(frame: pd.DataFrame) -> Headlines:
    intact = frame.loc[frame["order"] == "intact"].iloc[0]
    metric = "error" if np.isfinite(intact["error"]) else "agreement"
    rows: Headlines = []
    if metric == "error":
        rows.append(("intact error", _percent(intact["error"])))
    curves = {
        str(name): part.groupby("removed")[metric].median()
        for name, part in frame.loc[frame["order"] != "intact"].groupby("order", sort=False)
    }
    first = "greedy" if "greedy" in curves else next(iter(curves))
    sizes = np.asarray(curves[first].index, dtype=int)
    for k in dict.fromkeys(sizes[[0, len(sizes) // 4, len(sizes) // 2, -1]].tolist()):
        row = frame.loc[(frame["order"] == first) & (frame["removed"] == k)].iloc[0]
        faster = row["speedup"]
        rows.append(
            (
                f"{k} removed, {first}",
                f"{metric} {_percent(row[metric])}"
                + (f", {faster:.2f} times as fast" if np.isfinite(faster) else ""),
            )
        )
    if first == "greedy":
        # Agreement falls where error rises.
        sign = 1 if metric == "error" else -1
        behind = {
            name: sign * float((curve - curves[first]).mean())
            for name, curve in curves.items()
            if name != first
        }
        for name in sorted(behind, key=lambda name: behind[name]):
            rows.append(
                (
                    f"{name.replace('_', ' ')} behind greedy",
                    f"{100 * behind[name]:+.2f} points of {metric}, mean over 1 to {sizes[-1]} removed",
                )
            )
    return rows


def _history(frame: pd.DataFrame) -> Headlines:
    return [
        ("epochs", str(len(frame))),
        ("training error", _percent(_column(frame, "train_error")[-1])),
        ("test error", _percent(_column(frame, "test_error")[-1])),
        ("time", f"{_column(frame, 'seconds').sum() / 60:.1f} min"),
    ]
