"""How large the gradient is in each layer while a network is trained (He et al. 2015, §4.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from resanalysis.figures.style import FULL, RC, narrow, one_axes, panelled, whole_numbers
from resanalysis.figures.words import Headlines, column

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# More epochs than this cannot be told apart by their shade.
MOST_EPOCHS = 6

TITLE = "Gradients in training"
HOW_TO_READ = (
    "Norm of the loss's gradient by the weights of each layer, from the first to the last, in training mode; "
    "darker lines are later in training, bands go from the smallest to the largest of the batches. Conclude "
    "that signals vanish on their way back where a line falls by orders of magnitude towards the first layers."
)


@mpl.rc_context(RC)
def draw(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Norm of the loss's gradient by a layer's weights; a line for an epoch, darker ones later.

    Needs ``epoch``, ``layer``, ``norm``, ``norm_low`` and ``norm_high``; the band is from the smallest to
    the largest of the batches. Of many epochs the first, the last and some between are drawn. Conclude
    that signals vanish where the line falls by orders of magnitude towards the first layers.
    """
    ax = ax or one_axes()
    epochs = np.unique(frame["epoch"].to_numpy(int))
    if len(epochs) > MOST_EPOCHS:
        epochs = epochs[np.linspace(0, len(epochs) - 1, MOST_EPOCHS).round().astype(int)]
    shades = mpl.colormaps["viridis_r"](np.linspace(0.1, 1, len(epochs)))
    for epoch, shade in zip(epochs, shades, strict=True):
        rows = frame.loc[frame["epoch"] == epoch].sort_values("layer")
        layers = rows["layer"].to_numpy(float)
        ax.plot(layers, rows["norm"].to_numpy(float), color=shade, marker="o", markersize=2,
                label="at the start" if epoch == 0 else f"after epoch {epoch}")  # fmt: skip
        ax.fill_between(layers, rows["norm_low"].to_numpy(float), rows["norm_high"].to_numpy(float),
                        color=shade, alpha=0.2, linewidth=0)  # fmt: skip
    ax.set_yscale("log")
    ax.set_xlabel("Layer")
    ax.set_ylabel("Gradient norm (nats)")
    whole_numbers(ax.xaxis)
    figure = ax.get_figure(root=True)
    wide = figure is None or not narrow(figure.get_figwidth())
    ax.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=4 if wide else 2,
              handletextpad=0.4, columnspacing=1.0, borderaxespad=0.1)  # fmt: skip
    return ax


def gradient_norms(frame: pd.DataFrame, *, width: float = FULL, panel: str | None = None) -> Figure:
    """The figure of ``gradient_norms.csv``, which has panel ``a`` only."""
    drawn = [lambda ax: draw(frame, ax)]
    return panelled(drawn, "gradient_norms", width=width, panel=panel, height=2.4)[0]


def headlines(frame: pd.DataFrame) -> Headlines:
    """The gradient of the first layer against the last one's, at the start and at the end."""
    rows: Headlines = []
    epochs = np.unique(column(frame, "epoch")).astype(int)
    for epoch in sorted({epochs[0], epochs[-1]}):
        norms = column(frame.loc[frame["epoch"] == epoch].sort_values("layer"), "norm")
        when = "at the start" if epoch == 0 else f"after epoch {epoch}"
        rows.append(
            (f"gradient of the first layer over the last's, {when}", f"{norms[0] / norms[-1]:.2g}")
        )
    return rows
