"""Error of the stream as an estimate of where its stage ends: its mean and its spread."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from resanalysis.figures.style import (
    BLUE,
    FULL,
    INTACT,
    ORANGE,
    RC,
    narrow,
    one_axes,
    panelled,
    shade_stages,
    whole_numbers,
)
from resanalysis.figures.words import Headlines, column

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Refinement of the stream within a stage"
HOW_TO_READ = (
    "Stream after each unit less the stream after the last unit of its stage: the mean with its 95 % interval "
    "over examples, and the standard deviation over all numbers of all examples; shading: stages. Conclude "
    "from means near 0, beside a spread that falls along a stage, that units refine one estimate; from means "
    "that stay away from 0, that they also shift it. At the end of a stage both are 0 by definition."
)


def draw(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The mean error of each unit with its interval; stages are not joined.

    Needs ``unit``, ``stage``, ``mean``, ``mean_low`` and ``mean_high``. Conclude from intervals away from 0
    that the stage shifts the stream, as a whole, between here and its end.
    """
    ax = ax or one_axes()
    with mpl.rc_context(RC):
        shade_stages(ax, frame)
        ax.axhline(0, color=INTACT, linestyle=":", linewidth=0.8)
        for _, rows in frame.groupby("stage"):
            ax.fill_between(rows["unit"], rows["mean_low"], rows["mean_high"], color=BLUE, alpha=0.25,
                            linewidth=0)  # fmt: skip
            ax.plot(rows["unit"], rows["mean"], "o-", color=BLUE, markersize=2.5)
        _named(ax, "Mean of the error")
    return ax


def draw_spread(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The standard deviation of the error at each unit; stages are not joined.

    Needs ``unit``, ``stage`` and ``spread``. Conclude from a fall along the stage that units approach its end
    step by step; from a line that falls at the last units only, that these make it.
    """
    ax = ax or one_axes()
    with mpl.rc_context(RC):
        shade_stages(ax, frame)
        for _, rows in frame.groupby("stage"):
            ax.plot(rows["unit"], rows["spread"], "s-", color=ORANGE, markersize=2.5)
        ax.set_ylim(bottom=0)
        _named(ax, "Spread (std)")
    return ax


def _named(ax: Axes, what: str) -> None:
    whole_numbers(ax.xaxis)
    ax.set_xlabel("Unit (shading: stages)")
    ax.set_ylabel(what)


def refinement(frame: pd.DataFrame, *, width: float = FULL, panel: str | None = None) -> Figure:
    """The figure of ``refinement.csv``: mean and spread."""
    drawn = [partial(draw, frame), partial(draw_spread, frame)]
    height = 0.7 * width if narrow(width) else 0.42 * width
    return panelled(drawn, "refinement", width=width, panel=panel, height=height)[0]


def headlines(frame: pd.DataFrame) -> Headlines:
    """Of each stage: how its spread falls, and how large the mean is beside it."""
    found: Headlines = []
    for stage, rows in frame.groupby("stage"):
        if len(rows) < 2:
            continue
        before = rows.iloc[:-1]  # the last is 0 by definition
        spread, mean = column(before, "spread"), np.abs(column(before, "mean"))
        steps = np.diff(column(rows, "spread"))
        found.append(
            (
                f"stage {stage}: spread of the error",
                f"{spread[0]:.3g} after its first unit, {spread[-1]:.3g} before its last; it falls at "
                f"{int((steps < 0).sum())} of {len(steps)} units",
            )
        )
        if (spread > 0).any():
            most = np.max(mean[spread > 0] / spread[spread > 0])
            found.append((f"stage {stage}: largest |mean| / spread", f"{most:.3g}"))
    return found
