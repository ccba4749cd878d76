"""Which units carry the gradient, at which path lengths: a heat map."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from resanalysis.figures.style import BLUE, FULL, ORANGE, RC, new_figure, whole_numbers


def _by_unit_and_length(frame: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    units, row = np.unique(np.asarray(frame["unit"], dtype=np.int64), return_inverse=True)
    length = np.asarray(frame["length"], dtype=np.int64)
    shares = np.zeros((len(units), int(length.max()) + 1))
    shares[row, length] = np.asarray(frame["share"], dtype=np.float64)
    return units, shares


def _of_units(frame: pd.DataFrame, column: str) -> NDArray[np.int64]:
    first = np.unique(np.asarray(frame["unit"], dtype=np.int64), return_index=True)[1]
    return np.asarray(frame[column], dtype=np.int64)[first]


def draw(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Share of the gradient by unit (upwards) and path length; lines part the stages.

    Needs ``unit``, ``stage``, ``length`` and ``share``. A row that is darker than its neighbours is a
    unit whose branch more of the gradient passes; where it is dark says whether on short or long paths.
    Lengths beyond the last cell above 1 ‰ of the largest are left out.
    """
    if ax is None:
        ax = new_figure(height=2.8)[1][0]
    units, shares = _by_unit_and_length(frame)
    seen = np.flatnonzero((np.abs(shares) > 1e-3 * np.abs(shares).max()).any(axis=0))
    last = int(seen.max()) if len(seen) else shares.shape[1] - 1
    shares = shares[:, : last + 1]
    high, low = float(shares.max()), float(shares.min())
    negative = low < -0.02 * high
    norm = TwoSlopeNorm(0, low, high) if negative else Normalize(0, high if high > 0 else 1)
    with mpl.rc_context(RC):
        edges = np.arange(last + 2) - 0.5
        rows = np.append(units - 0.5, units[-1] + 0.5)
        image = ax.pcolormesh(
            edges, rows, shares, norm=norm, cmap="PuOr" if negative else "viridis", rasterized=True
        )
        stage = _of_units(frame, "stage")
        for row in np.flatnonzero(np.diff(stage)):
            ax.axhline(units[row] + 0.5, color="white", linewidth=0.8)
        ax.set_xlabel("Path length (units entered)")
        ax.set_ylabel("Unit (index from the input)")
        whole_numbers(ax.xaxis)
        whole_numbers(ax.yaxis)
        figure = ax.get_figure(root=True)
        if figure is not None:
            bar = figure.colorbar(image, ax=ax, pad=0.02)
            bar.set_label("Share of the gradient", fontsize=8)
            bar.ax.tick_params(labelsize=7)
    return ax


def draw_units(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Part of the gradient that passes each unit's branch, all lengths together; transitions marked.

    Needs ``unit``, ``transition`` and ``share``.
    """
    if ax is None:
        ax = new_figure()[1][0]
    units, shares = _by_unit_and_length(frame)
    total = shares.sum(axis=1)
    transition = _of_units(frame, "transition").astype(bool)
    with mpl.rc_context(RC):
        for chosen, colour, label in (
            (~transition, BLUE, None),
            (transition, ORANGE, "transition"),
        ):
            ax.barh(units[chosen], total[chosen], height=0.8, color=colour, lw=0, label=label)
        ax.set_ylim(units.min() - 0.5, units.max() + 0.5)
        ax.set_xlabel("Share of the gradient\nthrough the unit's branch")
        ax.set_ylabel("Unit (index from the input)")
        whole_numbers(ax.yaxis)
        if transition.any():
            ax.legend(loc="best", handlelength=1.0)
    return ax


def unit_share(frame: pd.DataFrame, *, width: float = FULL) -> Figure:
    """The figure of ``unit_share.csv``: the heat map, and beside it each unit's total."""
    figure, (left, right) = new_figure(width, 2.7, panels=2)
    draw(frame, left)
    draw_units(frame, right)
    return figure
