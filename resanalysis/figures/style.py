"""How figures look: column widths, fonts, and colours that colour-blind readers can tell apart."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from resanalysis.errors import ResanalysisError

FULL = 5.5
"""Width of a full column, inches."""
HALF = 2.7
"""Width of half a column, inches."""

_COLOURS = [str(colour) for colour in sns.color_palette("colorblind").as_hex()]
BLUE, ORANGE, GREEN, RED, PURPLE, BROWN, PINK, GREY, YELLOW, CYAN = _COLOURS
INTACT = "#222222"

RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "savefig.dpi": 300,
    "figure.constrained_layout.use": True,
}


METRICS = {
    "metric": "Own metric",
    "error": "Error (fraction)",
    "agreement": "Agreement with intact (fraction)",
    "loss": "Cross-entropy (nats)",
    "kl": "KL from intact (nats)",
    "perplexity": "Perplexity",
}
"""Measured columns with the label of their axis, in the order figures prefer them."""


def new_figure(
    width: float = FULL, height: float | None = None, panels: int = 1
) -> tuple[Figure, list[Axes]]:
    """A figure of a column's width in this package's style.

    Panels stand side by side in a full column, one above the other in a half.

    Parameters
    ----------
    height : of one row of panels, inches.
    """
    rows = panels if width < 0.7 * FULL else 1
    with mpl.rc_context(RC):
        row_height = width * 0.45 if height is None else height
        figure = Figure(figsize=(width, row_height * rows))
        axes = [figure.add_subplot(rows, panels // rows, number + 1) for number in range(panels)]
    return figure, axes


def metric_label(metric: str) -> str:
    """Name and unit of a measured column."""
    return METRICS.get(metric, metric)


def measured(frame: pd.DataFrame, metric: str | None) -> str:
    """The column to draw: the one asked for, else ``error``, or ``agreement`` of data without labels.

    Raises
    ------
    ResanalysisError : if that column is not there or empty.
    """
    there = [
        name
        for name in METRICS
        if name in frame and not np.isnan(np.asarray(frame[name], dtype=float)).all()
    ]
    if metric is None and there:
        return there[0]
    if metric not in there:
        raise ResanalysisError(
            f"the table has no measured {metric or 'metric'}; it has {', '.join(there) or 'none'}"
        )
    return metric


def whole_numbers(axis: Axis) -> None:
    """Ticks at whole numbers only: units and deletions have no halves."""
    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def legend_above(axes: Axes) -> None:
    """The legend over the axes, where no data is, in as many columns as the figure's width takes."""
    figure = axes.get_figure(root=True)
    grid = axes.get_gridspec()
    columns = 1 if grid is None else grid.ncols
    width = FULL if figure is None else figure.get_figwidth() / columns
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=4 if width > 0.7 * FULL else 1,
        handletextpad=0.4,
        columnspacing=1.0,
        borderaxespad=0.1,
    )


def panel_letter(axes: Axes, letter: str) -> None:
    """A bold letter at the top left, outside the axes."""
    axes.set_title(letter, loc="left", fontweight="bold", pad=4)
