"""Error without each unit (Veit et al. 2016, Figure 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resanalysis.figures.legends import shared_legend
from resanalysis.figures.quantities import lesion_headlines, without_error
from resanalysis.figures.recalibrated import NAME, recalibrated
from resanalysis.figures.style import (
    BLUE,
    FULL,
    GREEN,
    INTACT,
    NEAR_CHANCE,
    ORANGE,
    RC,
    legend_above,
    measured,
    metric_label,
    one_axes,
    panelled,
    shade_stages,
    whole_numbers,
)
from resanalysis.figures.words import Finding, Headlines, between, counted, examples, percent

# Significant at this level after Holm's correction: filled; else the marker is hollow.
LEVEL = 0.05

# How far to the right of its point the same with other statistics is drawn, in units.
_BESIDE = 0.3


def draw(frame: pd.DataFrame, ax: Axes | None = None, *, metric: str | None = None) -> Axes:
    """One point per deleted unit: how much worse than intact, with the interval of the paired difference.

    Needs ``unit``, ``transition``, ``stage`` and the metric (the error, or the agreement of data without
    labels). The error is drawn as ``delta``, its difference from the intact network on the same examples,
    whose level the legend says; anything without a paired difference as it is, with ``METRIC_low`` and
    ``METRIC_high``. Filled points are significant after Holm's correction (``p_holm``). Squares beside them are
    the same with batch-norm statistics estimated anew, where the table has them. Conclude from a flat row of
    hollow points that no single unit is needed; from squares far below the points that a peak is statistics
    that no longer fit.
    """
    if ax is None:
        ax = one_axes()
    metric = measured(frame, metric)
    paired = "delta" if metric == "error" else f"{metric}_delta"
    column = paired if paired in frame else metric
    units = frame.loc[(frame["unit"] >= 0) & frame[column].notna()]
    with mpl.rc_context(RC):
        shade_stages(ax, frame.loc[frame["unit"] >= 0])
        _intact(ax, frame, metric, column)
        if column == "delta" and "p_holm" in units:
            ax.plot([], [], "o", color="0.4", markerfacecolor="white", markeredgewidth=0.7, markersize=3.2,
                    label="hollow: n.s. (Holm)")  # fmt: skip
        for transition, colour, marker in ((False, BLUE, "o"), (True, ORANGE, "D")):
            _points(ax, units.loc[units["transition"].astype(bool) == transition], column, colour,
                    marker, f"{'transition' if transition else 'unit'} deleted")  # fmt: skip
        again = recalibrated(units)
        if again is not None:
            again = again.assign(unit=again["unit"] + _BESIDE)
            _points(ax, again, column, GREEN, "s", NAME)
        ax.set_xlabel("Unit deleted (shading: stages)")
        name = metric_label(metric)
        ax.set_ylabel(f"Change of {_inside(name)}" if column == paired else name)
        ax.set_xlim(-0.7, float(frame["unit"].to_numpy().max()) + 0.7)
        whole_numbers(ax.xaxis)
        if metric == "perplexity":  # one unit of a language model can cost a thousandfold
            ax.set_yscale("log")
        else:
            _limits(ax, frame, column, metric)
        legend_above(ax)
    return ax


def _inside(name: str) -> str:
    """A label inside a sentence; abbreviations keep their capitals."""
    return name if name[1:2].isupper() else f"{name[0].lower()}{name[1:]}"


def _intact(ax: Axes, frame: pd.DataFrame, metric: str, column: str) -> None:
    """The intact network: the zero of a difference, else its own level with its interval."""
    intact = frame.loc[frame["unit"] == -1].iloc[0]
    if column == metric:
        if f"{metric}_low" in frame:
            ax.axhspan(
                intact[f"{metric}_low"], intact[f"{metric}_high"], color=INTACT, alpha=0.12, lw=0
            )
        ax.axhline(intact[metric], color=INTACT, linestyle="--", linewidth=0.9, label="intact")
        return
    named = "" if metric in ("error", "metric") else f" {metric_label(metric)}"  # one of two panels
    ax.axhline(
        0, color=INTACT, linestyle="--", linewidth=0.9, label=f"intact{named}: {intact[metric]:.3g}"
    )


def _points(
    ax: Axes, units: pd.DataFrame, column: str, colour: str, marker: str, name: str
) -> None:
    """Intervals as bars, significant units filled, the others hollow."""
    low, high = f"{column}_low", f"{column}_high"
    significant = np.ones(len(units), dtype=bool)
    tested = column == "delta" and "p_holm" in units
    if tested:
        significant = units["p_holm"].to_numpy(float) < LEVEL
    for filled in (True, False):
        chosen = units.loc[significant == filled]
        if chosen.empty:
            continue
        value = chosen[column].to_numpy(float)
        bars = None
        if low in chosen:
            bars = np.maximum(0, np.stack([value - chosen[low], chosen[high] - value]))
        # One entry a marker: hollow points have their own in the legend.
        label = name if filled or not significant.any() else None
        ax.errorbar(chosen["unit"], value, yerr=bars, fmt=marker, color=colour, label=label,
                    markerfacecolor=colour if filled else "white", markeredgewidth=0.7,
                    elinewidth=0.8, capsize=0, markersize=3.2)  # fmt: skip


def _limits(ax: Axes, frame: pd.DataFrame, column: str, metric: str) -> None:
    """Room for every point with its bar, and for chance where points come near it."""
    stems = (column, f"{column}_recalibrated")
    names = [
        f"{name}{end}" for name in stems for end in ("", "_low", "_high") if f"{name}{end}" in frame
    ]
    values = frame[names].to_numpy(float)
    bottom, top = float(np.nanmin(values, initial=0.0)), float(np.nanmax(values, initial=0.0))
    if metric == "error" and "chance_error" in frame:
        chance = float(frame["chance_error"].iloc[0])
        if column != metric:
            chance -= float(frame.loc[frame["unit"] == -1, metric].iloc[0])
        if np.nanmax(frame[column].to_numpy(float)) >= NEAR_CHANCE * chance:
            ax.axhline(chance, color=INTACT, linestyle=":", linewidth=0.9, label="chance")
            top = max(top, chance)
    room = 0.06 * (top - bottom)
    ax.set_ylim(bottom - room if bottom < 0 else bottom, top + room if top > bottom else 1)


def lesion(
    frame: pd.DataFrame,
    *,
    metric: str | None = None,
    width: float = FULL,
    panel: str | None = None,
) -> Figure:
    """The figure of ``lesion.csv``; of detections a panel for mAP and one for AP50."""
    name = measured(frame, metric)
    names = ("map", "ap50") if metric is None and name == "map" else (name,)

    def drawn(name: str) -> Callable[[Axes], Axes]:
        return lambda ax: draw(frame, ax, metric=name)

    figure, axes = panelled(
        [drawn(name) for name in names], "lesion", width=width, panel=panel, height=2.3
    )
    shared_legend(figure, axes)
    return figure


TITLE = "Each unit deleted alone"
HOW_TO_READ = (
    "What deleting one unit's branch adds to the error (of detections, to mAP and AP50) of the intact network, "
    "its skip left in place. Conclude from points at zero that no single unit is needed. Bars are 95 % "
    "intervals of the paired difference over examples; filled points differ from the intact network after "
    "Holm's correction over units (exact McNemar tests, 5 %), but of detections, where all are filled, "
    "nothing is tested. Squares, where there are any: with batch-norm statistics estimated anew for each "
    "network, against the intact one treated alike."
)


def headlines(frame: pd.DataFrame) -> Headlines:
    """The intact error, the middle of the lesions, how many units matter, and the three that matter most."""
    if without_error(frame):
        return lesion_headlines(frame)
    records: Any = frame.sort_values("unit").to_dict("records")
    intact, *units = records
    rows = [
        (
            "intact error",
            f"{percent(intact['error'])}  "
            f"(95 %: {100 * intact['error_low']:.2f} to {100 * intact['error_high']:.2f})",
        )
    ]
    deleted = [row for row in units if row["error"] == row["error"]]  # NaN: cannot be deleted
    rows += _perplexity(intact, deleted) + _seen(frame) + _extremes(frame)
    if not deleted:
        return rows
    rows.append(("median, one unit deleted", percent(np.median([r["error"] for r in deleted]))))
    significant = sum(row["p_holm"] < 0.05 for row in deleted)
    rows.append(("units that change it (Holm, 5 %)", f"{significant} of {len(deleted)}"))
    rows += [_costly(row) for row in sorted(deleted, key=lambda row: -row["error"])[:3]]
    return rows + _recalibrated(intact, deleted)


def _seen(frame: pd.DataFrame) -> Headlines:
    """Where units stop when their damage is known: the examples they took."""
    if "seen" not in frame:
        return []
    taken = frame.loc[(frame["unit"] >= 0) & (frame["seen"] > 0), "seen"]
    saved = frame.attrs.get("unit_evaluations_saved")
    share = "" if saved is None else f"; {percent(saved)} of the work saved"
    return [("examples until it was known", f"{taken.min():,} to {taken.max():,}{share}")]


def _extremes(frame: pd.DataFrame) -> Headlines:
    """Where units stop when these are known: the most and the least needed ones."""
    rows: Headlines = []
    for word in ("most", "least") if "needed" in frame else ():
        units = frame.loc[frame["needed"] == word, "unit"]
        known = ", ".join(map(str, units)) or "none"
        wanted = frame.attrs.get("top", len(units))
        left = "" if len(units) == wanted else f" ({wanted - len(units)} more not known)"
        rows.append((f"units needed {word} (95 % for all together)", f"{known}{left}"))
    return rows


def _recalibrated(intact: dict[str, Any], deleted: list[dict[str, Any]]) -> Headlines:
    """With statistics estimated anew: the intact error, and what is left of the costliest unit's damage."""
    if "error_recalibrated" not in intact:
        return []
    worst = max(deleted, key=lambda row: row["error"])
    points = " to ".join(
        f"{100 * worst[f'delta_recalibrated_{end}']:+.2f}" for end in ("low", "high")
    )
    return [
        (f"intact error, {NAME}", percent(intact["error_recalibrated"])),
        (
            f"without {worst['unit']}, {NAME}",
            f"{percent(worst['error_recalibrated'])}  "
            f"({100 * worst['delta_recalibrated']:+.2f} points: {points})",
        ),
    ]


def _costly(row: dict[str, Any]) -> tuple[str, str]:
    """The error without a unit, with its paired difference."""
    mark = ", transition" if row["transition"] else ""
    return (
        f"without {row['unit']} ({row['name']}{mark})",
        f"{percent(row['error'])}  ({100 * row['delta']:+.2f} points: "
        f"{100 * row['delta_low']:+.2f} to {100 * row['delta_high']:+.2f})",
    )


def _perplexity(intact: dict[str, Any], deleted: list[dict[str, Any]]) -> Headlines:
    """Of a language model: the perplexity of the whole, and without the unit that it needs most."""
    if "perplexity" not in intact:
        return []

    def text(row: dict[str, Any]) -> str:
        interval = f"{row['perplexity_low']:.4g} to {row['perplexity_high']:.4g}"
        return f"{row['perplexity']:.4g}" + (
            f"  (95 %: {interval})" if "nan" not in interval else ""
        )

    rows: Headlines = [("intact perplexity", text(intact))]
    if deleted:
        middle = float(np.median([row["perplexity"] for row in deleted]))
        worst = max(deleted, key=lambda row: row["perplexity"])
        rows.append(("median perplexity, one unit deleted", f"{middle:.4g}"))
        rows.append((f"perplexity without {worst['unit']} ({worst['name']})", text(worst)))
    return rows


def findings(frame: pd.DataFrame) -> list[Finding]:
    """Which units the network needs, and what is known of the others; none without an error."""
    deleted = frame.loc[(frame["unit"] >= 0) & frame["error"].notna()]
    if deleted.empty:
        return []
    needed = deleted.loc[(deleted["p_holm"] < LEVEL) & (deleted["delta"] > 0)]
    rest = deleted.drop(index=needed.index)
    tests = (
        "tests by betting, valid when a unit stops" if "seen" in frame else "exact McNemar tests"
    )
    over = f"{tests}, Holm over {counted(len(deleted), 'unit')}; {examples(frame)}"
    found: list[Finding] = []
    if len(needed):
        worst = needed.loc[needed["delta"].idxmax()]
        found.append(
            Finding(
                f"The network needs {len(needed)} of its {counted(len(deleted), 'unit')}. It needs unit "
                f"{worst['unit']} ({worst['name']}) most: without it the error rises by "
                f"{100 * worst['delta']:.2f} points.",
                f"{between(worst['delta_low'], worst['delta_high'])}; {over}",
            )
        )
    if len(rest):
        widest = rest.loc[rest["delta_high"].idxmax()]
        which = (
            f"Of {counted(len(rest), 'other unit')}"
            if len(needed)
            else f"Of all {counted(len(rest), 'unit')}"
        )
        found.append(
            Finding(
                f"{which} none is shown to be needed: deleting one changes the error by "
                f"{100 * rest['delta'].median():+.2f} points in the median.".replace("-", "−"),
                f"the widest, unit {widest['unit']} ({widest['name']}), "
                f"{between(widest['delta_low'], widest['delta_high'])}; {over}",
            )
        )
    return found
