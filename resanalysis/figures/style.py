"""How figures look: column widths, fonts, and colours that colour-blind readers can tell apart."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

FULL = 5.5
"""Width of a full column, inches."""
HALF = 2.7
"""Width of half a column, inches."""

_COLOURS = [str(colour) for colour in sns.color_palette("colorblind").as_hex()]
BLUE, ORANGE, GREEN, RED, PURPLE, BROWN, PINK, GREY, YELLOW, CYAN = _COLOURS
INTACT = "#222222"

RC: dict[str, Any] = {
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


def new_figure(
    width: float = FULL, height: float | None = None, columns: int = 1
) -> tuple[Figure, list[Axes]]:
    """A figure of a column's width with axes side by side, in this package's style."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(width, width * 0.45 if height is None else height))
        axes = [figure.add_subplot(1, columns, column + 1) for column in range(columns)]
    return figure, axes


def metric_label(metric: str, frame: pd.DataFrame) -> str:
    """Name and unit of a measured column."""
    del frame
    names = {
        "error": "Error (fraction)",
        "loss": "Cross-entropy (nats)",
        "agreement": "Agreement with intact (fraction)",
        "kl": "KL from intact (nats)",
    }
    return names.get(metric, metric)


def panel_letter(axes: Axes, letter: str) -> None:
    """A bold letter at the top left, outside the axes."""
    axes.set_title(letter, loc="left", fontweight="bold", pad=4)
