"""The examples whose answer the deletion of most units changes, as pictures."""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resanalysis.errors import ResanalysisError
from resanalysis.figures.style import (
    FULL,
    RC,
    TALLEST,
    blank,
    check_width,
    narrow,
    new_figure,
    one_axes,
    only,
    whole_numbers,
)
from resanalysis.figures.words import Headlines, column

# Pictures beside each other in a column, and in half of one.
ACROSS, ACROSS_NARROW = 8, 4
_LONGEST = 11


@mpl.rc_context(RC)
def draw(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """How many examples have their answer changed by how many units, each deleted alone.

    Needs ``flips`` and ``of``. Conclude from a steep fall that most examples hang on no unit, and few on many:
    these are borderline.
    """
    if ax is None:
        ax = one_axes()
    counts = frame["flips"].value_counts().sort_index()
    ax.bar(counts.index, counts, width=0.8, color="0.35")
    ax.set_yscale("log")
    ax.set_ylim(bottom=0.7)
    ax.set_xlabel(f"Units (of {frame['of'].iloc[0]}) whose deletion\nchanges the answer")
    ax.set_ylabel("Examples")
    whole_numbers(ax.xaxis)
    return ax


def draw_picture(frame: pd.DataFrame, ax: Axes, place: int) -> Axes:
    """One of the examples: its picture, the units that flip it, its class and the intact answer."""
    from matplotlib.image import imread

    picture = imread(io.BytesIO(frame.attrs["pictures"][place]), "png")
    ax.imshow(picture, cmap="gray" if picture.ndim == 2 else None, vmin=0, vmax=1)
    ax.set_xticks([])
    ax.set_yticks([])
    row: Any = frame.iloc[place]
    words = [f"{row['flips']} of {row['of']}"]
    wrong = "label" in row and row["label"] != row["prediction"]
    words.append(_name(frame, row["label" if wrong else "prediction"], _LONGEST))
    if wrong:
        words.append(f"→ {_name(frame, row['prediction'], _LONGEST - 2)}")
    ax.set_title(
        "\n".join(words), fontsize=5.5, pad=2, linespacing=1.05, verticalalignment="bottom"
    )
    return ax


def _name(frame: pd.DataFrame, label: Any, most: int) -> str:
    names = frame.attrs.get("classes")
    name = str(label) if names is None else str(names[int(label)])
    return name if len(name) <= most else f"{name[: most - 1]}…"


@mpl.rc_context(RC)
def lesion_borderline(
    frame: pd.DataFrame, *, width: float = FULL, panel: str | None = None
) -> Figure:
    """The figure of ``lesion_borderline.csv``: its pictures, or of examples that are none the counts alone.

    Raises
    ------
    ResanalysisError : for a panel other than a.
    """
    check_width(width)
    only(panel, [lambda ax: draw(frame, ax)], "lesion_borderline")
    pictures = [
        place for place in range(len(frame.attrs.get("pictures", []))) if frame["flips"].iloc[place]
    ]
    if panel is not None or not pictures:
        figure, (ax,) = new_figure(width, 2.0)
        draw(frame, ax)
        return figure
    across = ACROSS_NARROW if narrow(width) else ACROSS
    rows = -(-len(pictures) // across)
    side = width / across
    figure = blank(width, min(1.5 + rows * (side + 0.25), TALLEST))
    grid = figure.add_gridspec(rows + 1, across, height_ratios=[1.5, *[side + 0.25] * rows])
    counts = figure.add_subplot(grid[0, :])
    draw(frame, counts)
    for place in pictures:
        ax = figure.add_subplot(grid[1 + place // across, place % across])
        draw_picture(frame, ax, place)
    return figure


TITLE = "Examples that most deletions flip"
HOW_TO_READ = (
    "Above, how many examples have their answer changed by how many units, each deleted alone. Below, the "
    "examples with the most: how many units, the class, and behind an arrow the intact network's answer where "
    "it is another. Such examples lie near a boundary (Jastrzębski et al. 2018). Conclude from a few with many "
    "units that damage gathers on them. The counts have no interval, as they are of these examples."
)


def headlines(frame: pd.DataFrame) -> Headlines:
    """How many examples hang on no unit, and on a quarter of them or more."""
    if frame.empty:
        raise ResanalysisError("the table has no examples")
    flips, of = column(frame, "flips"), column(frame, "of")[0]
    still, many = int(np.sum(flips == 0)), int(np.sum(flips >= of / 4))
    share = f"of {len(frame)} examples"
    return [
        ("answers that no deletion changes", f"{still} {share}"),
        ("changed by a quarter of the units or more", f"{many} {share}"),
    ]
