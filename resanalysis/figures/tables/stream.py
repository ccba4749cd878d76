"""What each unit adds to the stream: one page of small panels."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from resanalysis.figures.heat_map import heat_map
from resanalysis.figures.style import (
    BLUE,
    FULL,
    GREEN,
    INTACT,
    ORANGE,
    RC,
    Draw,
    narrow,
    one_axes,
    panelled,
    shade_stages,
    whole_numbers,
)
from resanalysis.figures.words import Finding, Headlines, column, examples

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "What each unit adds to the stream"
HOW_TO_READ = (
    "By unit: norms and angles of branch and skip, influence (1 − cosine of the stream before and after), "
    "angle of the branch with the negative gradient, the model's own head after each unit of the last "
    "stage; then angles over spans, and the rank correlation of each measure with the damage of a lesion. "
    "Diamonds are transitions, stages are shaded. Conclude from a correlation whose interval reaches zero "
    "that the measure does not tell which units can go. Bars are 95 % intervals over examples, those of "
    "correlations over units."
)

LABELS = {
    "branch_norm": "Norm",
    "ratio": "Branch / skip norm",
    "cosine": "Cos(branch, skip)",
    "influence": "Influence, 1 − cos",
    "gradient_cosine": "Cos(branch, −∂L/∂h)",
    "exit_error": "Early-exit error",
    "exit_agreement": "Early-exit agreement",
    "gate": "Transform gate",
    "bn_scale": "Last batch norm |γ|",
    "scale": "Branch factor",
}
"""Axis label of each measure."""

_SIGNED = ("cosine", "gradient_cosine")
_SHORT = {
    "branch_norm": "branch norm",
    "skip_norm": "skip norm",
    "gradient_cosine": "cos −∂L/∂h",
    "bn_scale": "|γ|",
}


@mpl.rc_context(RC)
def draw(frame: pd.DataFrame, ax: Axes | None = None, *, measure: str = "influence") -> Axes:
    """One measure by unit with its interval; transitions as diamonds, stages shaded.

    Needs ``unit``, ``stage``, ``transition`` and the measure; draws intervals from ``MEASURE_low`` and
    ``MEASURE_high``. The norms of skip and branch share a log axis (``measure="branch_norm"``). Conclude from
    a small ratio and influence that a unit refines what is there; from a positive cosine with −∂L/∂h, that it
    moves the stream down the loss.
    """
    ax = ax or one_axes(FULL / 2, 1.62)
    shade_stages(ax, frame)
    if measure == "branch_norm":
        _norms(frame, ax)
    else:
        _points(frame, ax, measure, BLUE, None)
        if measure in _SIGNED:
            ax.axhline(0, color=INTACT, linewidth=0.5, zorder=1)
        else:
            ax.set_ylim(bottom=0)
    ax.set_xlabel("Unit")
    ax.set_ylabel(LABELS.get(measure, measure))
    unit = frame["unit"].to_numpy(int)
    ax.set_xlim(unit.min() - 0.7, unit.max() + 0.7)
    whole_numbers(ax.xaxis)
    return ax


def _norms(frame: pd.DataFrame, ax: Axes) -> None:
    """Norms of skip and branch on one log axis, if there is one above zero to stand on it."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    _points(frame, ax, "skip_norm", GREEN, "skip")
    _points(frame, ax, "branch_norm", BLUE, "branch")
    if bool((frame["branch_norm"].to_numpy(float) > 0).any()):
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        ax.yaxis.set_minor_formatter(NullFormatter())
    _legend_above(ax)


def _points(frame: pd.DataFrame, ax: Axes, measure: str, colour: str, label: str | None) -> None:
    known = frame.loc[frame[measure].notna()]
    transition = known["transition"].to_numpy(bool)
    x, y = known["unit"].to_numpy(float), known[measure].to_numpy(float)
    low, high = f"{measure}_low", f"{measure}_high"
    if low in known and high in known:
        ax.vlines(x, known[low], known[high], color=colour, linewidth=0.9)
    ax.plot(x[~transition], y[~transition], "o", color=colour, markersize=2.4, label=label)
    ax.plot(x[transition], y[transition], "D", color=colour, markersize=3.2,
            markeredgecolor="black", markeredgewidth=0.6)  # fmt: skip


@mpl.rc_context(RC)
def draw_spans(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Angular distance by first unit and length of a span; dots mark the span of each length that turns least.

    Needs ``start``, ``length`` and ``distance`` (angle over π). Conclude from a light band that runs of units
    change the direction of the stream little: the candidates for cutting out whole.
    """
    ax = ax or one_axes(FULL / 2, 1.62)
    turned = frame.pivot_table(index="length", columns="start", values="distance")
    turned = turned.reindex(columns=range(int(frame["start"].to_numpy().max()) + 1))
    heat_map(turned, ax, label="angle / π", colours="viridis_r", above=True)
    least = turned.idxmin(axis=1).to_numpy(float)
    ax.plot(least + 0.5, np.arange(len(turned)) + 0.5, "o", color="white", markeredgecolor="black",
            markeredgewidth=0.4, markersize=2.2, linewidth=0)  # fmt: skip
    ax.set_xlabel("First unit of span")
    ax.set_ylabel("Units in span")
    return ax


@mpl.rc_context(RC)
def draw_damage(
    frame: pd.DataFrame, ax: Axes | None = None, *, damage: str = "loss", transitions: bool = True
) -> Axes:
    """Rank correlation of each cheap measure with what deleting the unit costs, with intervals over units.

    Needs ``measure``, ``damage``, ``transitions``, ``method``, ``correlation``, ``correlation_low`` and
    ``correlation_high``. Conclude from an interval that reaches zero that the measure does not tell which
    units can go.
    """
    ax = ax or one_axes(FULL / 2, 1.62)
    kept = frame.loc[
        (frame["damage"] == damage) & (frame["transitions"].astype(bool) == transitions)
    ]
    measures = [str(name) for name in dict.fromkeys(kept["measure"])]
    ax.axvline(0, color=INTACT, linewidth=0.5)
    kinds = (
        ("kendall", BLUE, "o", -0.16, "Kendall"),
        ("spearman", ORANGE, "s", 0.16, "Spearman"),
    )
    for method, colour, marker, shift, label in kinds:
        rows = kept.loc[kept["method"] == method].set_index("measure")
        at = np.array([measures.index(str(name)) for name in rows.index]) + shift
        ax.hlines(at, rows["correlation_low"], rows["correlation_high"], color=colour, lw=0.9)
        ax.plot(rows["correlation"], at, marker, color=colour, markersize=2.6, label=label)
    ax.set_yticks(range(len(measures)), [_SHORT.get(name, str(name)) for name in measures])
    ax.tick_params(axis="y", labelsize=6, length=0)
    ax.set_ylim(len(measures) - 0.4, -0.6)
    ax.set_xlim(-1.02, 1.02)
    ax.set_xlabel(f"Rank correlation with\ndamage ({damage})")
    _legend_above(ax)
    return ax


def _legend_above(ax: Axes) -> None:
    ax.legend(loc="lower right", bbox_to_anchor=(1.03, 0.98), ncols=2, handletextpad=0.0,
              columnspacing=0.5, borderaxespad=0.0, handlelength=1.4, fontsize=6)  # fmt: skip


def stream(
    frame: pd.DataFrame,
    *,
    spans: pd.DataFrame | None = None,
    damage: pd.DataFrame | None = None,
    width: float = FULL,
    panel: str | None = None,
) -> Figure:
    """The figure of ``stream.csv``: a panel for each measure that the network has.

    Parameters
    ----------
    spans, damage : ``stream_spans.csv`` and ``stream_damage.csv``; they add a panel each.
    panel : one of them by its letter, counted over the panels that there are.
    """
    measures = _measures(frame)
    drawn: list[Draw] = [
        lambda ax, measure=measure: draw(frame, ax, measure=measure) for measure in measures
    ]
    for table, one in ((spans, draw_spans), (damage, draw_damage)):
        if table is not None and len(table):
            drawn.append(lambda ax, table=table, one=one: one(table, ax))
    if panel is not None or len(drawn) == 1:
        return panelled(drawn, "stream", width=width, panel=panel, height=2.2)[0]
    stacked = narrow(width)
    columns, height = (1, 1.1) if stacked else (3, 1.62)
    figure, axes = panelled(
        drawn, "stream", width=width, panel=None, height=height, columns=columns
    )
    if stacked:
        _share_units(axes[: len(measures)])
    for ax in axes:
        ax.set_xlabel(ax.get_xlabel(), fontsize=7)
        ax.set_ylabel(ax.get_ylabel(), fontsize=7)
    return figure


def _measures(frame: pd.DataFrame) -> list[str]:
    """What was measured, in the order of the panels; exits by their error where that is known."""
    there = [
        name
        for name in LABELS
        if name in frame and bool(np.isfinite(frame[name].to_numpy(float)).any())
    ]
    return [name for name in there if name != "exit_agreement" or "exit_error" not in there]


def _share_units(axes: list[Axes]) -> None:
    """Low panels above each other: units are named below the last one, labels take two lines."""
    for ax in axes:
        ax.set_ylabel(fill(ax.get_ylabel(), 11))
    for ax in axes[:-1]:
        ax.set_xlabel("")
        ax.tick_params(labelbottom=False)


def headlines(frame: pd.DataFrame) -> Headlines:
    """How much the branches add, the units that turn the stream least, and the measures that tell the damage.

    Reads the fact ``predicts`` that ``stream`` leaves in ``attrs`` where damage was measured.
    """
    rows: Headlines = []
    ratio, influence = column(frame, "ratio"), column(frame, "influence")
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
    return rows + _predictors(frame)


def _predictors(frame: pd.DataFrame) -> Headlines:
    """The three measures whose ranks are nearest to those of the damage."""
    found = [row for row in frame.attrs.get("predicts", []) if row["method"] == "spearman"]
    damage = "loss" if any(row["damage"] == "loss" for row in found) else "error"
    ranked = sorted(
        (row for row in found if row["damage"] == damage), key=lambda row: -abs(row["correlation"])
    )
    return [
        (
            f"{row['measure']} with damage ({damage})",
            f"Spearman {row['correlation']:+.2f}  ({_interval(row)}; {row['units']} units)",
        )
        for row in ranked[:3]
    ]


def _interval(row: dict[str, Any], level: str = "") -> str:
    """Of a correlation; three units have none, and a manifest has ``None`` for what is no number."""
    low, high = row["correlation_low"], row["correlation_high"]
    return "no interval" if low is None or np.isnan(low) else f"{level}{low:+.2f} to {high:+.2f}"


def findings(frame: pd.DataFrame) -> list[Finding]:
    """The cheap measure that tells best what a deletion costs."""
    found = [row for row in frame.attrs.get("predicts", []) if row["method"] == "spearman"]
    known = [row for row in found if row["damage"] == "loss"] or found
    if not known:
        return []
    best = max(known, key=lambda row: abs(row["correlation"]))
    label = LABELS.get(best["measure"], best["measure"])
    return [
        Finding(
            f"Of the cheap measures, “{label}” tells best what a deletion costs in {best['damage']}: "
            f"Spearman {best['correlation']:+.2f}.".replace("-", "−"),
            f"{_interval(best, '95 %: ')} over {best['units']} units; {examples(frame)}",
        )
    ]
