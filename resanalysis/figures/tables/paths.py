"""Distribution of path lengths (Veit et al. 2016, Figure 6a) and what lesions leave of it (Figure 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from resanalysis.figures.style import (
    BLUE,
    FULL,
    ORANGE,
    RC,
    legend_above,
    one_axes,
    panelled,
    whole_numbers,
)
from resanalysis.figures.words import Headlines, column, percent
from resanalysis.statistics.path_length import central_interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "How long the paths are"
HOW_TO_READ = (
    "The share of all paths by the number of units whose branch they take, and the share that is left "
    "when units are deleted. Conclude that nearly all paths take about half of the units. Both are "
    "counted exactly: there is no uncertainty."
)
# The 110-layer network, of which Veit et al. publish two shares.
_PUBLISHED_UNITS = 54


@mpl.rc_context(RC)
def draw(frame: pd.DataFrame, ax: Axes | None = None, *, log: bool = False) -> Axes:
    """Probability of each length, the shortest run that holds 95 % of the paths shaded and named.

    Needs ``length`` and ``probability``. Conclude that nearly all paths take about half of the units.
    """
    ax = ax or one_axes()
    length = frame["length"].to_numpy(int)
    probability = frame["probability"].to_numpy(float)
    low, high = central_interval(list(probability))
    inside = (length >= low) & (length <= high)
    share = probability[inside].sum()
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


@mpl.rc_context(RC)
def draw_remaining(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Fraction of paths left after deleting units: halved by each in a residual network, none in a plain one.

    Needs ``deleted``, ``residual``, ``plain``.
    """
    ax = ax or one_axes()
    ax.plot(frame["deleted"], frame["residual"], "o-", color=BLUE, label="residual network")
    ax.plot(frame["deleted"], frame["plain"], "s--", color=ORANGE, label="plain network")
    ax.set_xlabel("Units deleted")
    ax.set_ylabel("Fraction of paths left")
    whole_numbers(ax.xaxis)
    ax.set_ylim(-0.03, 1.05)
    legend_above(ax)
    return ax


def paths(
    frame: pd.DataFrame, *, log: bool = False, width: float = FULL, panel: str | None = None
) -> Figure:
    """The figure of ``paths.csv``.

    Parameters
    ----------
    log : whether the shares stand on a log axis.
    panel : ``a``, the lengths; ``b``, the share of the paths that lesions leave.
    """
    import pandas as pd

    deleted = np.arange(min(int(frame["length"].to_numpy().max()), 10) + 1)
    left = pd.DataFrame(
        {"deleted": deleted, "residual": 0.5**deleted, "plain": (deleted == 0).astype(float)}
    )
    drawn = [lambda ax: draw(frame, ax, log=log), lambda ax: draw_remaining(left, ax)]
    return panelled(drawn, "paths", width=width, panel=panel, height=2.2)[0]


def paths_remaining(
    frame: pd.DataFrame, *, width: float = FULL, panel: str | None = None
) -> Figure:
    """The figure of ``paths_remaining()``, which has panel ``a`` only."""
    drawn = [lambda ax: draw_remaining(frame, ax)]
    return panelled(drawn, "paths_remaining", width=width, panel=panel, height=2.2)[0]


def headlines(frame: pd.DataFrame) -> Headlines:
    """Units, paths, and the lengths that most of them have."""
    length, probability = column(frame, "length"), column(frame, "probability")
    units = int(length.max())

    def between(low: int, high: int) -> float:
        return float(probability[(length >= low) & (length <= high)].sum())

    low, high = central_interval([float(share) for share in probability])
    rows = [
        ("units", str(units)),
        ("paths", f"2^{units} = {2**units}" if units <= 64 else f"2^{units}"),
        ("mean length", f"{float(length @ probability):.6g} units"),
        ("95 % of paths", f"{low} to {high} units (they hold {percent(between(low, high))})"),
    ]
    if units == _PUBLISHED_UNITS:
        rows.append(("P(19 ≤ length ≤ 35)", f"{between(19, 35):.5f}"))
        rows.append(("P(5 ≤ length ≤ 17)", f"{between(5, 17):.7f}"))
    return rows
