"""Error without k random units (Veit et al. 2016, Figure 5a)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from resanalysis.figures.legends import shared_legend
from resanalysis.figures.quantities import draws_headlines, without_error
from resanalysis.figures.recalibrated import NAME, recalibrated
from resanalysis.figures.style import (
    BLUE,
    FULL,
    GREEN,
    INTACT,
    RC,
    chance_near,
    legend_above,
    measured,
    metric_label,
    one_axes,
    panelled,
    whole_numbers,
)
from resanalysis.figures.words import (
    Finding,
    Headlines,
    between,
    column,
    counted,
    examples,
    percent,
)


def draw(frame: pd.DataFrame, ax: Axes | None = None, *, metric: str | None = None) -> Axes:
    """Bands over the draws (5 % to 95 %, and the middle half), their median, and the mean with its interval.

    Needs ``removed`` and the metric, of one protocol; draws ``mean_METRIC`` with its interval over draws
    and examples, the intact network from ``intact_METRIC``, and ``chance_error`` where the error comes near
    it, where they are there; squares are the means with batch-norm statistics estimated anew. Conclude from a
    smooth rise that no small set of units is needed: the network degrades like an ensemble that loses members.
    """
    if ax is None:
        ax = one_axes()
    metric = measured(frame, metric)
    with mpl.rc_context(RC):
        _bands(ax, frame, metric)
        _mean(ax, frame, metric, BLUE, "o", "mean, 95 % over draws × examples")
        _intact(ax, frame, metric, INTACT, "intact")
        again = recalibrated(frame)
        if again is not None:
            _mean(ax, again, metric, GREEN, "s", f"mean, {NAME}")
            _intact(ax, again, metric, GREEN, None)
        chance_near(ax, frame, metric)
        ax.set_xlabel("Units deleted at random")
        ax.set_ylabel(metric_label(metric))
        if metric != "metric":  # a user's own may be negative
            ax.set_ylim(bottom=0)
        whole_numbers(ax.xaxis)
        legend_above(ax)
    return ax


def _eligible(frame: pd.DataFrame) -> bool:
    """Whether transitions may be deleted too; tables that do not say have no transitions."""
    return "transitions_eligible" not in frame or bool(frame["transitions_eligible"].iloc[0])


def _bands(ax: Axes, frame: pd.DataFrame, metric: str) -> None:
    """Quantiles of the draws by k; a single k is drawn with some width, to be seen at all."""
    removed, draws = frame["removed"].to_numpy(float), frame[metric].to_numpy(float)
    at = np.unique(removed)
    quantiles = [0.05, 0.25, 0.5, 0.75, 0.95]
    values = np.array([np.quantile(draws[removed == k], quantiles) for k in at]).T
    if len(at) == 1:
        at, values = np.array([at[0] - 0.3, at[0] + 0.3]), np.repeat(values, 2, axis=1)
    for low, high, alpha, label in ((0, 4, 0.15, "90 % of draws"), (1, 3, 0.3, "middle half")):
        ax.fill_between(at, values[low], values[high], color=BLUE, alpha=alpha, linewidth=0,
                        label=label)  # fmt: skip
    ax.plot(at, values[2], color=BLUE, linewidth=1.0, label="median")


def _intact(ax: Axes, frame: pd.DataFrame, metric: str, colour: str, label: str | None) -> None:
    intact = f"intact_{metric}"
    if intact in frame:
        ax.axhline(float(frame[intact].iloc[0]), color=colour, linestyle="--", linewidth=0.9,
                   label=label)  # fmt: skip


def _mean(ax: Axes, frame: pd.DataFrame, metric: str, colour: str, marker: str, label: str) -> None:
    """The mean and its interval, which is over draws and examples."""
    name = f"mean_{metric}"
    if name not in frame:
        return
    rows = frame.groupby("removed")[[name, f"{name}_low", f"{name}_high"]].first()
    mean, low, high = rows.to_numpy(float).T
    bars = np.maximum(0, np.stack([mean - low, high - mean]))
    first = colour == BLUE  # the others beside them
    ax.errorbar(np.asarray(rows.index) + (0 if first else 0.15), mean, yerr=bars, fmt=marker,
                color=INTACT if first else colour, markersize=2.2 if first else 2.8,
                elinewidth=0.8, markerfacecolor=colour, markeredgewidth=0.5, label=label)  # fmt: skip


def lesion_many(
    frame: pd.DataFrame,
    *,
    metric: str | None = None,
    width: float = FULL,
    panel: str | None = None,
) -> Figure:
    """The figure of ``lesion_many.csv``, with a panel for each protocol."""
    parts = [frame]
    if "transitions_eligible" in frame:
        flags = frame["transitions_eligible"].astype(bool)
        parts = [frame.loc[flags == flag] for flag in (True, False) if flag in set(flags)]
    name = measured(frame, metric)

    def drawn(part: pd.DataFrame) -> Callable[[Axes], None]:
        def into(ax: Axes) -> None:
            draw(part, ax, metric=name)
            if len(parts) > 1:
                ax.set_title(
                    f"transitions {'may go' if _eligible(part) else 'stay'}", pad=4, size=8
                )

        return into

    figure, axes = panelled(
        [drawn(part) for part in parts], "lesion_many", width=width, panel=panel, height=2.4
    )
    _one_scale(axes)
    shared_legend(figure, axes)
    return figure


def _one_scale(axes: list[Axes]) -> None:
    """So that protocols can be compared."""
    ends = [end for ax in axes for end in ax.get_ylim()]
    for ax in axes:
        ax.set_ylim(min(ends), max(ends))


TITLE = "Many units deleted together"
HOW_TO_READ = (
    "Error (of detections, mAP) with k units deleted at random; each draw deletes one more unit of the same "
    "random order. Conclude from a smooth change that the network degrades like an ensemble that loses "
    "members. The line "
    "is the median over draws and the bands hold the middle half and 90 % of them; the points are the mean, "
    "with its 95 % interval over draws and examples (a two-way bootstrap). Green, where it is there: with "
    "batch-norm statistics estimated anew for each network; the green line is the intact one, treated alike."
)


def headlines(frame: pd.DataFrame) -> Headlines:
    """The intact error, and the median over draws with few, some and all units deleted."""
    if without_error(frame):
        return draws_headlines(frame)
    removed, error = column(frame, "removed"), column(frame, "error")
    eligible = np.asarray(frame["transitions_eligible"], dtype=bool)
    rows: Headlines = []
    if len(frame) and "intact_error" in frame:
        rows.append(("intact error", percent(frame["intact_error"].iloc[0])))
    sizes = np.unique(removed)
    shown = np.unique(sizes[[0, len(sizes) // 4, len(sizes) // 2, -1]] if len(sizes) else sizes)
    for with_transitions, size in product((True, False), shown):
        errors = error[(removed == size) & (eligible == with_transitions)]
        if len(errors):
            low, middle, high = np.quantile(errors, [0.25, 0.5, 0.75])
            rows.append(
                (
                    f"{size:.0f} deleted{'' if with_transitions else ', no transitions'}",
                    f"median {percent(middle)}  (quartiles {100 * low:.2f} to "
                    f"{100 * high:.2f}; {len(errors)} draws)",
                )
            )
    return rows


# A rise of the error that many would accept.
_ONE_POINT = 0.01


def findings(frame: pd.DataFrame) -> list[Finding]:
    """How many random units can go for one point; none without an error or its mean."""
    if "mean_error" not in frame or np.isnan(column(frame, "mean_error")).all():
        return []
    eligible = np.asarray(frame["transitions_eligible"], dtype=bool)
    part = frame.loc[eligible] if eligible.any() else frame
    means = part.groupby("removed")[["mean_error", "mean_error_low", "mean_error_high"]].first()
    rise: Any = means - float(part["intact_error"].iloc[0])
    sizes = np.asarray(means.index, dtype=int)
    most, least_sure, most_sure = (
        _last_below(sizes, column(rise, name))
        for name in ("mean_error", "mean_error_high", "mean_error_low")
    )
    first = rise.iloc[0]
    drawn = f"{counted(len(set(part['draw'])), 'draw')} of each size; {examples(frame)}"
    if most == 0:
        text = (
            f"Deleting {counted(int(sizes[0]), 'unit')} at random costs {100 * first['mean_error']:.2f} "
            "points of error on average: more than one point."
        )
        return [
            Finding(text, f"{between(first['mean_error_low'], first['mean_error_high'])}; {drawn}")
        ]
    end = " or more" if most == sizes[-1] else ""
    text = (
        f"{counted(most, 'unit')}{end} chosen at random can go for one point of error on average."
    )
    return [
        Finding(
            text, f"{least_sure} to {most_sure} by the ends of the mean's 95 % intervals; {drawn}"
        )
    ]


def _last_below(sizes: NDArray[np.int_], rise: NDArray[np.float64]) -> int:
    """The largest size up to which all stay within one point."""
    above = np.flatnonzero(rise > _ONE_POINT)
    inside = sizes if not len(above) else sizes[: above[0]]
    return int(inside[-1]) if len(inside) else 0
