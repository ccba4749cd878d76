"""How large the gradient is in each layer while a network is trained (He et al. 2015, §4.1)."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resanalysis.figures.style import FULL, RC, new_figure, whole_numbers

# More epochs than this cannot be told apart by their shade.
MOST_EPOCHS = 6


def draw(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Norm of the loss's gradient by a layer's weights; a line for an epoch, darker ones later.

    Needs ``epoch``, ``layer``, ``norm``, ``norm_low`` and ``norm_high``; the band is from the smallest to
    the largest of the batches. Of many epochs the first, the last and some between are drawn. Conclude
    that signals vanish where the line falls by orders of magnitude towards the first layers.
    """
    if ax is None:
        ax = new_figure()[1][0]
    epochs = np.unique(frame["epoch"].to_numpy(int))
    if len(epochs) > MOST_EPOCHS:
        epochs = epochs[np.linspace(0, len(epochs) - 1, MOST_EPOCHS).round().astype(int)]
    shades = mpl.colormaps["viridis_r"](np.linspace(0.1, 1, len(epochs)))
    with mpl.rc_context(RC):
        for epoch, shade in zip(epochs, shades, strict=True):
            rows = frame.loc[frame["epoch"] == epoch].sort_values("layer")
            layers = rows["layer"].to_numpy(float)
            ax.plot(layers, rows["norm"].to_numpy(float), color=shade, marker="o", markersize=2,
                    label="at the start" if epoch == 0 else f"after epoch {epoch}")  # fmt: skip
            ax.fill_between(layers, rows["norm_low"].to_numpy(float),
                            rows["norm_high"].to_numpy(float), color=shade, alpha=0.2,
                            linewidth=0)  # fmt: skip
        ax.set_yscale("log")
        ax.set_xlabel("Layer")
        ax.set_ylabel("Gradient norm (nats)")
        whole_numbers(ax.xaxis)
        figure = ax.get_figure(root=True)
        wide = figure is None or figure.get_figwidth() > 0.7 * FULL
        ax.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=4 if wide else 2,
                  handletextpad=0.4, columnspacing=1.0, borderaxespad=0.1)  # fmt: skip
    return ax


def gradient_norms(frame: pd.DataFrame, *, width: float = FULL) -> Figure:
    """The figure of ``gradient_norms.csv``."""
    figure, (ax,) = new_figure(width, 2.4)
    draw(frame, ax)
    return figure
