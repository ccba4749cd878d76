"""One legend over the panels of a figure, each entry once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resanalysis.figures.style import RC

# Inches: a letter and an entry's sign with its gaps, as wide as the fonts of this package draw them; a row.
_LETTER, _SIGN, _ROW = 0.047, 0.45, 0.15


def shared_legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """The entries of all panels above them, in as many columns as the figure's width takes.

    Every row beyond the first makes the figure higher, so that panels keep their height.
    """
    entries: dict[str, Any] = {}
    for ax in axes:
        handles, names = ax.get_legend_handles_labels()
        for name, handle in zip(names, handles, strict=True):
            entries.setdefault(name, handle)
        legend = ax.get_legend()
        if legend is not None:
            legend.remove()
    columns = _columns([len(name) for name in entries], figure.get_figwidth())
    rows = -(-len(entries) // columns)
    # Else the rows of the legend would be taken from the panels.
    figure.set_figheight(figure.get_figheight() + _ROW * (rows - 1))
    with mpl.rc_context(RC):
        figure.legend(
            list(entries.values()), list(entries), loc="outside upper left", ncols=columns,
            handletextpad=0.4, columnspacing=1.0,
        )  # fmt: skip


def _columns(letters: list[int], width: float) -> int:
    """The most columns that fit; entries run down them, each as wide as its longest."""
    for columns in range(len(letters), 1, -1):
        longest = [max(part) for part in np.array_split(letters, columns)]
        if sum(_SIGN + _LETTER * one for one in longest) <= width:
            return columns
    return 1
