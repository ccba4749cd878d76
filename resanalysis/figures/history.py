"""Error while a network is trained, several networks in one (He et al. 2015, Figures 1 and 6)."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from resanalysis.figures.style import (
    BLUE,
    BROWN,
    FULL,
    GREEN,
    INTACT,
    ORANGE,
    PINK,
    PURPLE,
    RC,
    RED,
    new_figure,
    whole_numbers,
)

_COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, BROWN, PINK, INTACT)
_MARKERS = "osD^vP*X"


def draw(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Test error in full lines, training error in broken ones, a colour for each network.

    Needs ``epoch``, ``train_error`` and ``test_error``, and ``model`` where there are several networks.
    Training error is that of the augmented batches while the weights still moved, so it may lie above
    the test error. Conclude that depth degrades plain networks where the deeper one's *training* error
    is the higher: it fits worse, it does not fit too well.
    """
    if ax is None:
        ax = new_figure()[1][0]
    models = frame["model"].astype(str) if "model" in frame else pd.Series("", index=frame.index)
    handles: list[Line2D] = []
    with mpl.rc_context(RC):
        for place, name in enumerate(models.unique()):
            rows = frame.loc[models == name].sort_values("epoch")
            colour, marker = _COLOURS[place % len(_COLOURS)], _MARKERS[place % len(_MARKERS)]
            epochs = rows["epoch"].to_numpy(float)
            ax.plot(epochs, rows["train_error"].to_numpy(float), color=colour, linestyle="--",
                    linewidth=0.8, label=f"{name} training")  # fmt: skip
            ax.plot(epochs, rows["test_error"].to_numpy(float), color=colour, marker=marker,
                    markersize=2.5, linewidth=1.4, label=f"{name} test")  # fmt: skip
            if name:
                handles.append(
                    Line2D([], [], color=colour, marker=marker, markersize=2.5, label=name)
                )
        handles.append(Line2D([], [], color=INTACT, linewidth=1.4, label="test"))
        handles.append(
            Line2D([], [], color=INTACT, linestyle="--", linewidth=0.8, label="training")
        )
        ax.set_xlabel("Epoch")
        ax.set_ylabel("Error (fraction)")
        ax.set_ylim(bottom=0)
        whole_numbers(ax.xaxis)
        figure = ax.get_figure(root=True)
        wide = figure is None or figure.get_figwidth() > 0.7 * FULL
        ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(-0.02, 1.0),
                  ncols=4 if wide else 2, handletextpad=0.4, columnspacing=1.0,
                  borderaxespad=0.1)  # fmt: skip
    return ax


def history(frame: pd.DataFrame, *, width: float = FULL) -> Figure:
    """The figure of ``history.csv``, or of several of them one after the other."""
    figure, (ax,) = new_figure(width, 2.4)
    draw(frame, ax)
    return figure
