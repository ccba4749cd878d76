"""What each unit adds to the stream: one page of small panels."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

from resanalysis.figures.style import BLUE, FULL, GREEN, INTACT, ORANGE, RC, whole_numbers

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


def draw(frame: pd.DataFrame, ax: Axes | None = None, *, measure: str = "influence") -> Axes:
    """One measure by unit with its interval; transitions as diamonds, stages shaded.

    Needs ``unit``, ``stage``, ``transition`` and the measure; draws intervals from ``MEASURE_low`` and
    ``MEASURE_high``. The norms of skip and branch share a log axis (``measure="branch_norm"``). Conclude from
    a small ratio and influence that a unit refines what is there; from a positive cosine with −∂L/∂h, that it
    moves the stream down the loss.
    """
    if ax is None:
        ax = _figure(FULL / 2, 1)[1][0]
    with mpl.rc_context(RC):
        _shade(frame, ax)
        if measure == "branch_norm":
            _points(frame, ax, "skip_norm", GREEN, "skip")
            _points(frame, ax, "branch_norm", BLUE, "branch")
            if bool((frame["branch_norm"].to_numpy(float) > 0).any()):
                ax.set_yscale("log")
                ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
                ax.yaxis.set_minor_formatter(NullFormatter())
            _legend_above(ax)
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


def _shade(frame: pd.DataFrame, ax: Axes) -> None:
    unit, stage = frame["unit"].to_numpy(int), frame["stage"].to_numpy(int)
    for number, value in enumerate(np.unique(stage)):
        if number % 2:
            members = unit[stage == value]
            ax.axvspan(members.min() - 0.5, members.max() + 0.5, color="0.95", zorder=0, lw=0)


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


def draw_spans(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Angular distance by first unit and length of a span; dots mark the span of each length that turns least.

    Needs ``start``, ``length`` and ``distance`` (angle over π). Conclude from a light band that runs of units
    change the direction of the stream little: the candidates for cutting out whole.
    """
    if ax is None:
        ax = _figure(FULL / 2, 1)[1][0]
    start, length = frame["start"].to_numpy(int), frame["length"].to_numpy(int)
    grid = np.full((length.max(), start.max() + 1), np.nan)
    grid[length - 1, start] = frame["distance"].to_numpy(float)
    with mpl.rc_context(RC):
        image = ax.pcolormesh(np.arange(grid.shape[1] + 1) - 0.5, np.arange(len(grid) + 1) + 0.5,
                              grid, cmap="viridis_r", vmin=0, rasterized=True)  # fmt: skip
        best = [int(np.nanargmin(row)) for row in grid if not np.isnan(row).all()]
        at = [k + 1 for k, row in enumerate(grid) if not np.isnan(row).all()]
        ax.plot(best, at, "o", color="white", markeredgecolor="black", markeredgewidth=0.4,
                markersize=2.2, linewidth=0)  # fmt: skip
        ax.set_xlabel("First unit of span")
        ax.set_ylabel("Units in span")
        whole_numbers(ax.xaxis)
        ax.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
        figure = ax.get_figure(root=True)
        if figure is not None:
            bar = figure.colorbar(
                image, cax=ax.inset_axes((0.5, 1.06, 0.5, 0.06)), orientation="horizontal"
            )
            bar.ax.tick_params(labelsize=6, length=1.5, pad=1, top=True, bottom=False,
                               labeltop=True, labelbottom=False)  # fmt: skip
            ax.text(0.47, 1.09, "angle / π", transform=ax.transAxes, fontsize=6, ha="right",
                    va="center")  # fmt: skip
    return ax


def draw_damage(
    frame: pd.DataFrame, ax: Axes | None = None, *, damage: str = "loss", transitions: bool = True
) -> Axes:
    """Rank correlation of each cheap measure with what deleting the unit costs, with intervals over units.

    Needs ``measure``, ``damage``, ``transitions``, ``method``, ``correlation``, ``correlation_low`` and
    ``correlation_high``. Conclude from an interval that reaches zero that the measure does not tell which
    units can go.
    """
    if ax is None:
        ax = _figure(FULL / 2, 1)[1][0]
    kept = frame.loc[
        (frame["damage"] == damage) & (frame["transitions"].astype(bool) == transitions)
    ]
    measures = [str(name) for name in dict.fromkeys(kept["measure"])]
    with mpl.rc_context(RC):
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


def _figure(width: float, panels: int) -> tuple[Figure, list[Axes]]:
    columns = 3 if width > 0.7 * FULL else 1
    rows = -(-panels // columns)
    with mpl.rc_context(RC):
        figure = Figure(figsize=(width, (1.62 if columns > 1 else 1.35) * rows))
        return figure, [figure.add_subplot(rows, columns, place + 1) for place in range(panels)]


def stream(
    frame: pd.DataFrame,
    *,
    spans: pd.DataFrame | None = None,
    damage: pd.DataFrame | None = None,
    width: float = FULL,
) -> Figure:
    """The figure of ``stream.csv``: a panel for each measure that the network has.

    ``spans`` (``stream_spans.csv``) and ``damage`` (``stream_damage.csv``) add a panel each.
    """
    measures = [
        name
        for name in LABELS
        if name in frame and bool(np.isfinite(frame[name].to_numpy(float)).any())
    ]
    if "exit_error" in measures and "exit_agreement" in measures:
        measures.remove("exit_agreement")
    drawn: list[Callable[[Axes], Axes]] = [
        lambda ax, measure=measure: draw(frame, ax, measure=measure) for measure in measures
    ]
    if spans is not None and len(spans):
        drawn.append(lambda ax: draw_spans(spans, ax))
    if damage is not None and len(damage):
        drawn.append(lambda ax: draw_damage(damage, ax))
    figure, axes = _figure(width, len(drawn))
    for ax, panel in zip(axes, drawn, strict=True):
        panel(ax)
    with mpl.rc_context(RC):
        for number, ax in enumerate(axes):
            ax.set_xlabel(ax.get_xlabel(), fontsize=7)
            ax.set_ylabel(ax.get_ylabel(), fontsize=7)
            ax.set_title(chr(ord("a") + number), loc="left", fontweight="bold", fontsize=7, y=1.02)
    return figure
