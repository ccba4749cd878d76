"""Training: error on the training and the test set after each epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from resanalysis.figures.style import (
    FULL,
    PALETTE,
    RC,
    legend_above,
    one_axes,
    panelled,
    whole_numbers,
)
from resanalysis.figures.words import Headlines, column, percent

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Training"
HOW_TO_READ = (
    "Error on the training batches (dashed, averaged while the weights change) and on the test set "
    "(solid, after the epoch), by epoch; several runs in colours of their own. Conclude from a gap "
    "between the two how much is overfitted. A run is one training; only several of them with different "
    "seeds show how far runs differ."
)


@mpl.rc_context(RC)
def draw(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Training and test error against the epoch, on an axis from zero.

    Needs ``epoch``, ``train_error`` and ``test_error``; with ``run``, a colour for each run. Conclude from a
    training error that stays above zero that the network has not learned its examples by heart; from a
    test error that rises again that it was trained for too long.
    """
    ax = ax or one_axes()
    for number, (name, rows) in enumerate(_runs(frame)):
        colour = PALETTE[number % len(PALETTE)]
        last = "o" if len(rows) == 1 else ""  # a line through one epoch is not seen
        ax.plot(rows["epoch"], rows["train_error"], linestyle="--", marker=last, color=colour,
                linewidth=0.8, label=f"{name}training")  # fmt: skip
        ax.plot(rows["epoch"], rows["test_error"], marker=last, color=colour,
                label=f"{name}test")  # fmt: skip
    ax.set_xlabel("Epoch")
    ax.set_ylabel("Error (fraction)")
    ax.set_ylim(bottom=0)
    whole_numbers(ax.xaxis)
    legend_above(ax)
    return ax


def _runs(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each run behind what its lines are called; of a single one nothing is said."""
    if "run" not in frame:
        return [("", frame)]
    groups: list[tuple[Any, pd.DataFrame]] = list(frame.groupby("run", sort=False))
    return [(f"{name}, " if len(groups) > 1 else "", rows) for name, rows in groups]


def history(frame: pd.DataFrame, *, width: float = FULL, panel: str | None = None) -> Figure:
    """The figure of ``history.csv``, which has panel ``a`` only."""
    drawn = [lambda ax: draw(frame, ax)]
    return panelled(drawn, "history", width=width, panel=panel, height=2.3)[0]


def headlines(frame: pd.DataFrame) -> Headlines:
    """Epochs, the last errors and the time, of every run."""
    rows: Headlines = []
    for name, part in _runs(frame):
        rows += [
            (f"{name}epochs", str(len(part))),
            (f"{name}training error", percent(column(part, "train_error")[-1])),
            (f"{name}test error", percent(column(part, "test_error")[-1])),
            (f"{name}time", f"{column(part, 'seconds').sum() / 60:.1f} min"),
        ]
    return rows
