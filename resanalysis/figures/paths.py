"""Distribution of path lengths (Veit et al. 2016, Figure 6a) and what lesions leave of it (Figure 7)."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resanalysis.figures.style import (
    BLUE,
    FULL,
    ORANGE,
    RC,
    legend_above,
    new_figure,
    whole_numbers,
)
from resanalysis.statistics.path_length import central_interval


def draw(frame: pd.DataFrame, ax: Axes | None = None, *, log: bool = False) -> Axes:
    """Probability of each length, the shortest run that holds 95 % of the paths shaded and named.

    Needs ``length`` and ``probability``. Conclude that nearly all paths take about half of the units.
    """
    if ax is None:
        ax = new_figure()[1][0]
    length = frame["length"].to_numpy(int)
    probability = frame["probability"].to_numpy(float)
    low, high = central_interval(list(probability))
    inside = (length >= low) & (length <= high)
    share = probability[inside].sum()
    with mpl.rc_context(RC):
        ax.bar(length[~inside], probability[~inside], width=0.9, color="0.7", linewidth=0)
        ax.bar(length[inside], probability[inside], width=0.9, color=BLUE, linewidth=0,
               label=f"lengths {low} to {high}: {100 * share:.1f} % of paths")  # fmt: skip
        mean = float(length @ probability)
        ax.axvline(mean, color=ORANGE, linewidth=1.0, label=f"mean {mean:.4g}")
        if log:
            ax.set_yscale("log")
        seen = length[probability > probability.max() * 1e-4]
        if not log and len(length) > 12:
            ax.set_xlim(seen.min() - 1.5, seen.max() + 1.5)
        ax.set_xlabel(f"Path length (units entered, of {length.max()})")
        ax.set_ylabel("Fraction of all paths")
        whole_numbers(ax.xaxis)
        ax.set_ylim(top=probability.max() * (1.05 if not log else 2))
        legend_above(ax)
    return ax


def paths(frame: pd.DataFrame, *, log: bool = False, width: float = FULL) -> Figure:
    """The figure of ``paths.csv``, with the fraction of paths that lesions leave beside it."""
    figure, (left, right) = new_figure(width, 2.2, panels=2)
    draw(frame, left, log=log)
    units = int(frame["length"].to_numpy().max())
    last = min(units, 10)
    deleted = np.arange(last + 1)
    draw_remaining(
        pd.DataFrame(
            {
                "deleted": deleted,
                "residual": 0.5**deleted,
                "plain": (deleted == 0).astype(float),
            }
        ),
        right,
    )
    return figure


def draw_remaining(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Fraction of paths left after deleting units: halved by each in a residual network, none in a plain one.

    Needs ``deleted``, ``residual``, ``plain``.
    """
    if ax is None:
        ax = new_figure()[1][0]
    with mpl.rc_context(RC):
        ax.plot(frame["deleted"], frame["residual"], "o-", color=BLUE, label="residual network")
        ax.plot(frame["deleted"], frame["plain"], "s--", color=ORANGE, label="plain network")
        ax.set_xlabel("Units deleted")
        ax.set_ylabel("Fraction of paths left")
        whole_numbers(ax.xaxis)
        ax.set_ylim(-0.03, 1.05)
        legend_above(ax)
    return ax


def paths_remaining(frame: pd.DataFrame, *, width: float = FULL) -> Figure:
    """The figure of ``paths_remaining()``."""
    figure, (ax,) = new_figure(width, 2.2)
    draw_remaining(frame, ax)
    return figure
