"""How figures look: widths, panels, fonts, and colours that colour-blind readers can tell apart.

Of matplotlib only its settings are imported here, and the rest when something is drawn: titles and headline
numbers, which live beside the drawings, then cost a tenth of a second instead of two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from resanalysis.errors import ResanalysisError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.backend_bases import RendererBase
    from matplotlib.figure import Figure

HALF = 2.7
"""Width of half a column, inches."""
FULL = 5.5
"""Width of a full column, inches."""
PAGE = 7.0
"""Width of a page of two columns, inches."""
TALLEST = 9.0
"""Height of a page's text, inches: no figure is higher."""
_WIDTHS = (2.0, 12.0)
_SCREEN = 130  # dots per inch
_FORMULA = re.compile(r"\$(\\mathdefault\{[^$]*\}|\d+\^\{-?\d+\})\$")
"""Powers as we write them, and the labels of matplotlib's logarithmic axes."""

BLUE, ORANGE, GREEN, RED, PURPLE, BROWN, PINK, GREY, YELLOW, CYAN = PALETTE = (
    "#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc",
    "#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9",
)  # fmt: skip
"""seaborn's palette ``colorblind``, written out because seaborn takes two seconds to import."""
INTACT = "#222222"

NEAR_CHANCE = 0.8
"""Errors from this share of chance on say that they saturate, so the line of chance is drawn; a line far
above all data would squeeze them."""

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
    "map": "mAP",
    "ap50": "AP50",
    "miou": "Mean IoU",
}
"""Measured columns with the label of their axis, in the order figures prefer them."""

Draw = Callable[["Axes"], object]


def narrow(width: float) -> bool:
    """Whether a figure is drawn for half a column: panels below each other, legends in few columns."""
    return width < 0.7 * FULL


def new_figure(
    width: float = FULL, height: float | None = None, panels: int = 1, columns: int | None = None
) -> tuple[Figure, list[Axes]]:
    """A figure of a column's width in this package's style.

    Parameters
    ----------
    height : of one row of panels, inches; less where the figure would be higher than a page.
    columns : panels side by side; where left out all of them, in half a column one.

    Raises
    ------
    ResanalysisError : for a width that no page has.
    """
    check_width(width)
    beside = min(panels, columns or (1 if narrow(width) else panels))
    rows = -(-panels // beside)
    row_height = width * 0.45 if height is None else height
    figure = blank(width, min(row_height * rows, TALLEST))
    return figure, [figure.add_subplot(rows, beside, number + 1) for number in range(panels)]


@mpl.rc_context(RC)
def blank(width: float, height: float) -> Figure:
    """A figure without axes, which a notebook shows even where ``pyplot`` was never imported."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height))
    setattr(made, "_repr_png_", partial(_png, made))  # noqa: B010 (matplotlib's class has no such field)
    setattr(made, "draw", partial(_draw, made))  # noqa: B010 (a subclass would import matplotlib here)
    return made


def _draw(figure: Figure, renderer: RendererBase) -> None:
    """Draw a figure with names as they are: ``$^_$`` is no formula, and would end the drawing."""
    from matplotlib.text import Text

    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            axis.get_ticklabels()  # what the ticks say is only now decided
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math("$" not in _FORMULA.sub("", text.get_text()))
    type(figure).draw(figure, renderer)


def _png(figure: Figure) -> bytes:
    """A picture for a screen."""
    file = BytesIO()
    figure.savefig(file, format="png", dpi=_SCREEN)
    return file.getvalue()


def one_axes(width: float = FULL, height: float | None = None) -> Axes:
    """Axes of a figure of their own: what ``draw`` uses where it is given none."""
    return new_figure(width, height)[1][0]


def check_width(width: float) -> None:
    """Refuse a width that no page has.

    Raises
    ------
    ResanalysisError : below 2 or above 12 inches.
    """
    if not _WIDTHS[0] <= width <= _WIDTHS[1]:
        raise ResanalysisError(
            f"a figure {width:g} in wide: widths go from {_WIDTHS[0]:g} to {_WIDTHS[1]:g} in; "
            f"{HALF} is half a column, {FULL} a column, {PAGE:g} a page"
        )


def only(panel: str | None, drawn: Sequence[Draw], figure: str) -> list[Draw]:
    """The panels to draw: all, or the one asked for.

    Parameters
    ----------
    panel : a letter, ``a`` for the first; ``None`` for all.
    figure : what its panels belong to, for the message.

    Raises
    ------
    ResanalysisError : if the figure has no such panel.
    """
    if panel is None:
        return list(drawn)
    there = _LETTERS[: len(drawn)]
    if len(panel) != 1 or panel not in there:
        has = f"panels a to {there[-1]}" if len(there) > 1 else "panel a only"
        raise ResanalysisError(f"the figure of {figure} has no panel {panel!r}: it has {has}")
    return [drawn[there.index(panel)]]


_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@mpl.rc_context(RC)
def panelled(
    drawn: Sequence[Draw],
    figure: str,
    *,
    width: float,
    panel: str | None,
    height: float,
    columns: int | None = None,
) -> tuple[Figure, list[Axes]]:
    """A figure of panels with their letters, or one of its panels alone and without a letter.

    Parameters
    ----------
    drawn : draws each panel into the axes it is given.
    figure, panel : as for ``only``.
    height, columns : as for ``new_figure``.
    """
    chosen = only(panel, drawn, figure)
    made, axes = new_figure(width, height, len(chosen), columns)
    for draw, ax in zip(chosen, axes, strict=True):
        draw(ax)
    if len(axes) > 1:
        for letter, ax in zip(_LETTERS, axes, strict=False):
            panel_letter(ax, letter)
    return made, axes


def letters(figure: Figure) -> list[str]:
    """The panels of a whole figure, each of which ``panel=`` draws alone; none of a figure of one panel."""
    return [str(ax.get_label()) for ax in figure.axes if str(ax.get_label()) in set(_LETTERS)]


def panel_letter(axes: Axes, letter: str) -> None:
    """A bold letter at the top left, outside the axes and beside a legend above them."""
    # By this label `letters` finds the panels again.
    axes.set_label(letter)
    axes.annotate(letter, (0, 1), (-25.6, 4), "axes fraction", "offset points",
                  weight="bold", size=8, ha="left")  # fmt: skip


def metric_label(metric: str) -> str:
    """Name and unit of a measured column."""
    return METRICS.get(metric, metric)


def measured(frame: pd.DataFrame, metric: str | None) -> str:
    """The column to draw: the one asked for, else ``error``, or ``agreement`` of data without labels.

    Raises
    ------
    ResanalysisError : if that column is not there or empty.
    """
    own: Sequence[str] = frame.attrs.get("whole_metrics", ())  # a user's, with names of its own
    there = [
        name
        for name in dict.fromkeys([*METRICS, *own])
        if name in frame and not np.isnan(np.asarray(frame[name], dtype=float)).all()
    ]
    if metric is None and there:
        return there[0]
    if metric is None or metric not in there:
        raise ResanalysisError(
            f"the table has no measured {metric or 'metric'}; it has {', '.join(there) or 'none'}"
        )
    return metric


def chance_line(axes: Axes, frame: pd.DataFrame, metric: str) -> None:
    """The error of the best answer that knows nothing of the input, if the table says it and errors come near.

    Reads ``chance`` (column or fact): the share of examples which that answer has right.
    """
    if metric != "error" or "chance" not in {*frame.columns, *frame.attrs}:
        return
    chance = frame["chance"].iloc[0] if "chance" in frame else frame.attrs["chance"]
    # Far above all errors the line would say nothing and flatten them.
    if chance is not None and np.nanmax(frame["error"].to_numpy(float)) > (1 - float(chance)) / 2:
        axes.axhline(1 - float(chance), color=INTACT, linestyle=":", linewidth=0.8, label="chance")


def chance_near(axes: Axes, frame: pd.DataFrame, metric: str) -> None:
    """The same of a table that says the error of chance, in ``chance_error``."""
    if metric != "error" or "chance_error" not in frame or not len(frame):
        return
    chance = float(frame["chance_error"].iloc[0])
    if frame["error"].to_numpy(float).max() >= NEAR_CHANCE * chance:
        axes.axhline(chance, color=INTACT, linestyle=":", linewidth=0.9, label="chance")


def shade_stages(axes: Axes, frame: pd.DataFrame) -> None:
    """A light ground behind every other stage. Needs ``unit`` and ``stage``."""
    unit, stage = frame["unit"].to_numpy(int), frame["stage"].to_numpy(int)
    for value in np.unique(stage)[1::2]:
        members = unit[stage == value]
        axes.axvspan(members.min() - 0.5, members.max() + 0.5, color="0.95", zorder=0, linewidth=0)


def whole_numbers(axis: Axis) -> None:
    """Ticks at whole numbers only: units and deletions have no halves."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def legend_above(axes: Axes, left: float = -0.02) -> None:
    """The legend over the axes, where no data is, in as many columns as the figure's width takes.

    Parameters
    ----------
    left : where it starts, in widths of the axes; below zero where entries are as long as a panel is wide.
    """
    figure = axes.get_figure(root=True)
    grid = axes.get_gridspec()
    columns = 1 if grid is None else grid.ncols
    width = FULL if figure is None else figure.get_figwidth() / columns
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(left, 1.0),
        ncols=1 if narrow(width) else 4,
        handletextpad=0.4,
        columnspacing=1.0,
        borderaxespad=0.1,
    )
