"""One legend over the panels of a figure, each entry once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from resanalysis.figures.style import RC

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches: a letter and an entry's sign with its gaps, as wide as the fonts of this package draw them; a row.
_LETTER, _SIGN, _ROW = 0.047, 0.45, 0.15
# Of a line in a legend of few columns, in letters: long enough to tell dashes apart.
_DASH = 2.6


def shared_legend(
    figure: Figure,
    axes: Sequence[Axes],
    *,
    order: Callable[[str], Any] | None = None,
    columns: int | None = None,
) -> None:
    """The entries of all panels above them, each once.

    Parameters
    ----------
    order : from an entry's name to what it is sorted by; as the panels have them if left out.
    columns : in a figure whose height has room for them; if left out as many as its width takes, and every
        row beyond the first makes the figure higher, so that panels keep their height.
    """
    entries: dict[str, Any] = {}
    for ax in axes:
        handles, names = ax.get_legend_handles_labels()
        for name, handle in zip(names, handles, strict=True):
            entries.setdefault(str(name), handle)
        legend = ax.get_legend()
        if legend is not None:
            legend.remove()
    names = list(entries) if order is None else sorted(entries, key=order)
    dash = _DASH
    if columns is None:
        dash = None  # as long as in every legend
        columns = _columns([len(name) for name in names], figure.get_figwidth())
        rows = -(-len(names) // columns)
        # Else the rows of the legend would be taken from the panels.
        figure.set_figheight(figure.get_figheight() + _ROW * (rows - 1))
    with mpl.rc_context(RC):
        figure.legend(
            [entries[name] for name in names], names, loc="outside upper left", ncols=columns,
            handlelength=dash, handletextpad=0.4, columnspacing=1.0,
        )  # fmt: skip


def _columns(letters: list[int], width: float) -> int:
    """The most columns that fit; entries run down them, each as wide as its longest."""
    for columns in range(len(letters), 1, -1):
        longest = [max(part) for part in np.array_split(letters, columns)]
        if sum(_SIGN + _LETTER * one for one in longest) <= width:
            return columns
    return 1
