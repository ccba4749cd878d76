"""Error without k random units (Veit et al. 2016, Figure 5a)."""

from __future__ import annotations

from itertools import product

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resanalysis.figures.style import (
    BLUE,
    FULL,
    INTACT,
    ORANGE,
    RC,
    legend_above,
    measured,
    metric_label,
    new_figure,
    whole_numbers,
)
from resanalysis.figures.words import Headlines, column, percent
from resanalysis.statistics.intervals import bootstrap_mean

# More boxes than this do not fit side by side; bands take their place.
MOST_BOXES = 25


def draw(frame: pd.DataFrame, ax: Axes | None = None, *, metric: str | None = None) -> Axes:
    """A box per k over draws (whiskers: 5 % to 95 %), the means joined by a line with 95 % intervals.

    For many k, the same quantiles are drawn as two bands. Needs ``removed`` and the metric; splits by
    ``transitions_eligible`` and draws the intact network from ``intact_METRIC`` where they are there. The
    interval of a mean is over draws. Conclude from a smooth rise that no small set of units is
    needed: the network degrades like an ensemble that loses members.
    """
    if ax is None:
        ax = new_figure()[1][0]
    metric = measured(frame, metric)
    with mpl.rc_context(RC):
        if "transitions_eligible" in frame:
            flags = frame["transitions_eligible"].astype(bool)
            groups = [
                (flag, frame.loc[flags == flag]) for flag in (True, False) if flag in set(flags)
            ]
        else:
            groups = [(True, frame)]
        width = 0.7 / len(groups)
        for place, (eligible, rows) in enumerate(groups):
            colour, marker = (BLUE, "o") if eligible else (ORANGE, "D")
            sizes = np.unique(rows["removed"].to_numpy(int))
            values = [rows.loc[rows["removed"] == k, metric].to_numpy(float) for k in sizes]
            at = sizes + (place - (len(groups) - 1) / 2) * (width + 0.05)
            if len(sizes) > MOST_BOXES:
                at = sizes.astype(float)
                _bands(ax, at, values, colour)
            else:
                ax.boxplot(
                    values, positions=at, widths=width, whis=(5, 95), showfliers=False,
                    patch_artist=True, manage_ticks=False,
                    boxprops={"facecolor": colour, "alpha": 0.35, "edgecolor": colour, "linewidth": 0.6},
                    medianprops={"color": colour, "linewidth": 1.0},
                    whiskerprops={"color": colour, "linewidth": 0.6},
                    capprops={"color": colour, "linewidth": 0.6},
                )  # fmt: skip
            intervals = np.array([bootstrap_mean(value) for value in values])
            means = intervals[:, 0]
            errors = np.abs(intervals[:, 1:].T - means)
            name = "transitions may go" if eligible else "transitions stay"
            ax.errorbar(at, means, yerr=errors, color=colour, fmt=f"{marker}-", linewidth=0.8,
                        markersize=2.2, elinewidth=0.9, label=f"mean, {name}")  # fmt: skip
        intact = f"intact_{metric}"
        if intact in frame:
            ax.axhline(float(frame[intact].iloc[0]), color=INTACT, linestyle="--", linewidth=0.9,
                       label="intact")  # fmt: skip
        ax.set_xlabel("Units deleted at random")
        ax.set_ylabel(metric_label(metric))
        if metric != "metric":  # a user's own may be negative
            ax.set_ylim(bottom=0)
        whole_numbers(ax.xaxis)
        legend_above(ax)
    return ax


def _bands(ax: Axes, at: np.ndarray, values: list[np.ndarray], colour: str) -> None:
    """5 % to 95 % of the draws in a light band, their middle half in a darker one."""
    quantiles = np.array([np.quantile(value, [0.05, 0.25, 0.75, 0.95]) for value in values]).T
    for low, high, alpha in ((0, 3, 0.15), (1, 2, 0.3)):
        ax.fill_between(at, quantiles[low], quantiles[high], color=colour, alpha=alpha, linewidth=0)


def lesion_many(frame: pd.DataFrame, *, metric: str | None = None, width: float = FULL) -> Figure:
    """The figure of ``lesion_many.csv``."""
    figure, (ax,) = new_figure(width, 2.4)
    draw(frame, ax, metric=metric)
    return figure


TITLE = "Many units deleted together"
HOW_TO_READ = (
    "Error with k units deleted at random; each draw deletes one more unit of the same random order. "
    "Conclude from a smooth rise that the network degrades like an ensemble that loses members. Boxes "
    "show the draws (quartiles, whiskers from 5 % to 95 %), bars the 95 % interval of their mean over "
    "draws."
)


def headlines(frame: pd.DataFrame) -> Headlines:
    """The intact error, and the median over draws with few, some and all units deleted."""
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
