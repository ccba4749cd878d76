"""Error against the Kendall tau of the order of the units (Veit et al. 2016, Figure 5b)."""

from __future__ import annotations

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
)
from resanalysis.figures.words import Headlines, column, percent
from resanalysis.statistics.intervals import smooth_trend

BIN = 0.05
# A curve through fewer orders shows the orders, not a trend.
FEWEST_FOR_TREND = 10


def draw(frame: pd.DataFrame, ax: Axes | None = None, *, metric: str | None = None) -> Axes:
    """Every order as a dot, quartiles per bin of tau as boxes, a smooth trend with its 95 % band.

    Needs ``kendall_tau``, ``swaps`` and the metric. The order of the trained network is at tau 1, on the
    left as in the paper. Conclude from a smooth rise that units are not tied to their place.
    """
    if ax is None:
        ax = new_figure()[1][0]
    metric = measured(frame, metric)
    moved = frame.loc[frame["swaps"] > 0]
    tau, value = moved["kendall_tau"].to_numpy(float), moved[metric].to_numpy(float)
    with mpl.rc_context(RC):
        ax.scatter(tau, value, s=6, color=BLUE, alpha=0.35, linewidth=0, label="one order")
        bins = np.floor((1 - tau) / BIN).astype(int)
        members = [value[bins == number] for number in np.unique(bins)]
        centres = np.array([1 - BIN * (number + 0.5) for number in np.unique(bins)])
        full = [index for index, group in enumerate(members) if len(group) >= 5]
        if full:
            ax.boxplot(
                [members[index] for index in full], positions=centres[full], widths=BIN * 0.6,
                whis=(5, 95), showfliers=False, manage_ticks=False,
                boxprops={"color": "0.35", "linewidth": 0.7},
                medianprops={"color": "0.1", "linewidth": 1.0},
                whiskerprops={"color": "0.35", "linewidth": 0.6},
                capprops={"color": "0.35", "linewidth": 0.6},
            )  # fmt: skip
        if len(tau) >= FEWEST_FOR_TREND and np.ptp(tau) > 0:
            trend = smooth_trend(tau, value)
            ax.fill_between(trend.x, trend.low, trend.high, color=ORANGE, alpha=0.3, linewidth=0)
            ax.plot(trend.x, trend.y, color=ORANGE, label="trend, 95 % band")
        intact = frame.loc[frame["swaps"] == 0]
        if len(intact):
            ax.axhline(float(intact[metric].iloc[0]), color=INTACT, linestyle="--", linewidth=0.9,
                       label="trained order")  # fmt: skip
        lowest = float(tau.min()) if len(tau) else 0.9
        ax.set_xlim(1.0 + 0.02 * (1 - lowest), lowest - 0.04 * (1 - lowest) - BIN / 2)
        ax.set_ylim(bottom=0)
        ax.set_xlabel("Kendall tau of the order, over all units")
        ax.set_ylabel(metric_label(metric))
        legend_above(ax)
    return ax


def reorder(frame: pd.DataFrame, *, metric: str | None = None, width: float = FULL) -> Figure:
    """The figure of ``reorder.csv``."""
    figure, (ax,) = new_figure(width, 2.4)
    draw(frame, ax, metric=metric)
    return figure


TITLE = "Units in another order"
HOW_TO_READ = (
    "Error against Kendall's tau between the new order and the trained one, over all units, also those "
    "that cannot move. Conclude from a smooth rise that units are not tied to their place. A dot is an "
    "order, boxes hold the quartiles of a bin of tau, the band is the 95 % interval of the trend over "
    "orders."
)


def headlines(frame: pd.DataFrame) -> Headlines:
    """The intact error, the range of the orders, and the rank correlation of error and tau."""
    from scipy.stats import spearmanr

    swaps = column(frame, "swaps")
    tau, error = column(frame, "kendall_tau"), column(frame, "error")
    rows: Headlines = []
    if np.any(swaps == 0):
        rows.append(("intact error", percent(error[swaps == 0][0])))
    tau, error = tau[swaps > 0], error[swaps > 0]
    if not len(tau):
        return rows
    rows.append(("orders", str(len(tau))))
    rows.append(("Kendall tau", f"{tau.min():.3f} to {tau.max():.3f}"))
    rows.append(("error", f"{percent(error.min())} to {percent(error.max())}"))
    if len(np.unique(tau)) > 1 and len(np.unique(error)) > 1:
        correlation = float(np.asarray(spearmanr(tau, error))[0])
        rows.append(("rank correlation of error and tau (Spearman)", f"{correlation:+.3f}"))
    return rows
