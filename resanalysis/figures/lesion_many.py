"""Error without k random units (Veit et al. 2016, Figure 5a)."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from resanalysis.figures.style import (
    BLUE,
    FULL,
    INTACT,
    ORANGE,
    RC,
    legend_above,
    metric_label,
    new_figure,
)


def draw(frame: pd.DataFrame, ax: Axes | None = None, *, metric: str = "error") -> Axes:
    """A box per k over draws (whiskers: 5 % to 95 %), the means joined by a line with 95 % intervals.

    Needs ``removed`` and the metric; splits by ``transitions_eligible`` and draws the intact network
    from ``intact_error`` where they are there. Conclude from a smooth rise that no small set of units is
    needed: the network degrades like an ensemble that loses members.
    """
    if ax is None:
        ax = new_figure()[1][0]
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
            colour = BLUE if eligible else ORANGE
            offset = (place - (len(groups) - 1) / 2) * (width + 0.05)
            sizes = np.unique(rows["removed"].to_numpy(int))
            values = [rows.loc[rows["removed"] == k, metric].to_numpy(float) for k in sizes]
            ax.boxplot(
                values, positions=sizes + offset, widths=width, whis=(5, 95), showfliers=False,
                patch_artist=True, manage_ticks=False,
                boxprops={"facecolor": colour, "alpha": 0.35, "edgecolor": colour, "linewidth": 0.6},
                medianprops={"color": colour, "linewidth": 1.0},
                whiskerprops={"color": colour, "linewidth": 0.6},
                capprops={"color": colour, "linewidth": 0.6},
            )  # fmt: skip
            means = np.array([value.mean() for value in values])
            errors = [1.96 * v.std(ddof=1) / np.sqrt(len(v)) if len(v) > 1 else 0 for v in values]
            name = "transitions may go" if eligible else "transitions stay"
            ax.errorbar(sizes + offset, means, yerr=errors, color=colour, fmt="o-", linewidth=0.8,
                        markersize=2.2, elinewidth=0.9, label=f"mean, {name}")  # fmt: skip
        intact = f"intact_{metric}"
        if intact in frame:
            ax.axhline(float(frame[intact].iloc[0]), color=INTACT, linestyle="--", linewidth=0.9,
                       label="intact")  # fmt: skip
        ax.set_xlabel("Units deleted at random")
        ax.set_ylabel(metric_label(metric))
        ax.set_ylim(bottom=0)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend_above(ax)
    return ax


def lesion_many(frame: pd.DataFrame, *, metric: str = "error", width: float = FULL) -> Figure:
    """The figure of ``lesion_many.csv``."""
    figure, (ax,) = new_figure(width, 2.4)
    draw(frame, ax, metric=metric)
    return figure
