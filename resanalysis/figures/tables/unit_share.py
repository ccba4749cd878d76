"""Which units carry the gradient, at which path lengths: a heat map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from resanalysis.figures.heat_map import heat_map
from resanalysis.figures.style import (
    BLUE,
    FULL,
    INTACT,
    ORANGE,
    RC,
    one_axes,
    panelled,
    whole_numbers,
)
from resanalysis.figures.words import Finding, Headlines, examples, percent

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Which units carry the gradient"
HOW_TO_READ = (
    "Share of the gradient on the paths of each length that pass each unit's branch, and each unit's "
    "total over all lengths. Conclude from a row darker than its neighbours that more of the gradient "
    "passes that unit; a path passes several, so totals add up to more than 1. Bars are 95 % bootstrap "
    "intervals over images."
)
# Cells below this part of the largest are not worth their room.
_SEEN = 1e-3
_ENDS = ("total_low", "total_high")


@mpl.rc_context(RC)
def draw(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Share of the gradient by unit (upwards) and path length; lines part the stages.

    Needs ``unit``, ``stage``, ``length`` and ``share``. A row that is darker than its neighbours is a
    unit whose branch more of the gradient passes; where it is dark says whether on short or long paths.
    Lengths beyond the last cell above 1 ‰ of the largest are left out.
    """
    ax = ax or one_axes(height=2.8)
    shares = frame.pivot_table(index="unit", columns="length", values="share")
    large = (shares.abs() > _SEEN * shares.abs().to_numpy().max()).any(axis=0).to_numpy()
    last = int(np.flatnonzero(large).max(initial=0))
    heat_map(shares.iloc[:, : last + 1], ax, label="Share of the gradient")
    for row in np.flatnonzero(np.diff(_of_units(frame, "stage"))) + 1:
        ax.axhline(float(row), color=INTACT, linewidth=0.6)
    ax.set_xlabel("Path length (units entered)")
    ax.set_ylabel("Unit (index from the input)")
    return ax


def _totals(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The units, and of each the sum of its shares over all lengths."""
    table = frame.pivot_table(index="unit", values="share", aggfunc="sum")
    return np.asarray(table.index, dtype=int), table["share"].to_numpy(float)


def _of_units(frame: pd.DataFrame, name: str) -> np.ndarray:
    """A column that is the same in all rows of a unit, once for every unit."""
    return frame.drop_duplicates("unit").sort_values("unit")[name].to_numpy()


@mpl.rc_context(RC)
def draw_units(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Part of the gradient that passes each unit's branch, all lengths together; transitions marked.

    Needs ``unit``, ``transition`` and ``share``; draws intervals from ``total_low`` and ``total_high``
    where they are there, since those of the single lengths do not add up to one of their sum.
    """
    ax = ax or one_axes()
    units, values = _totals(frame)
    transition = _of_units(frame, "transition").astype(bool)
    for chosen, colour, label in ((~transition, BLUE, None), (transition, ORANGE, "transition")):
        ax.barh(units[chosen], values[chosen], height=0.8, color=colour, lw=0, label=label)
    if set(_ENDS) <= set(frame):
        low, high = (_of_units(frame, end) for end in _ENDS)
        ax.hlines(units, low, high, color=INTACT, linewidth=0.8)
    ax.set_ylim(units.min() - 0.5, units.max() + 0.5)
    ax.set_xlabel("Share of the gradient\nthrough the unit's branch")
    ax.set_ylabel("Unit (index from the input)")
    whole_numbers(ax.yaxis)
    if transition.any():
        ax.legend(loc="best", handlelength=1.0)
    return ax


def unit_share(frame: pd.DataFrame, *, width: float = FULL, panel: str | None = None) -> Figure:
    """The figure of ``unit_share.csv``.

    Parameters
    ----------
    panel : ``a``, the heat map; ``b``, each unit's total with its interval.
    """
    drawn = [lambda ax: draw(frame, ax), lambda ax: draw_units(frame, ax)]
    return panelled(drawn, "unit_share", width=width, panel=panel, height=2.7)[0]


def headlines(frame: pd.DataFrame) -> Headlines:
    """The three units through which most of the gradient goes."""
    units, total = _totals(frame)
    names = dict(zip(units, _of_units(frame, "name"), strict=True))
    ends = [dict(zip(units, _of_units(frame, end), strict=True)) for end in _ENDS if end in frame]
    rows: Headlines = []
    for place in np.argsort(-total, kind="stable")[:3]:
        unit = int(units[place])
        interval = " to ".join(f"{100 * end[unit]:.2f}" for end in ends)
        spread = f"  (95 %: {interval})" if interval else ""
        rows.append(
            (f"gradient through unit {unit} ({names[unit]})", percent(total[place]) + spread)
        )
    return rows


def findings(frame: pd.DataFrame) -> list[Finding]:
    """The unit through which most of the gradient goes."""
    units, total = _totals(frame)
    if not len(units):
        return []
    place = int(np.argmax(total))
    ends = [100 * _of_units(frame, end)[place] for end in _ENDS if end in frame]
    spread = f"95 %: {ends[0]:.2f} to {ends[1]:.2f} %; " if ends else ""
    return [
        Finding(
            f"The branch of unit {units[place]:.0f} ({_of_units(frame, 'name')[place]}) passes most of the "
            f"gradient: {percent(total[place])}.",
            f"{spread}{examples(frame)}",
        )
    ]
