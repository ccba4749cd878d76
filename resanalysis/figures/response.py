"""Response of each layer, in layer order and sorted by size (He et al. 2015, Figure 7)."""

from __future__ import annotations

import re
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from resanalysis.figures.style import (
    BLUE,
    FULL,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RC,
    RED,
    new_figure,
    whole_numbers,
)

LINES = ((BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (PURPLE, ":"), (RED, "-"), (GREY, "--"))
"""Colour and dash of each model: told apart also in grey."""

Order = Literal["layer", "rank"]


def draw(
    frame: pd.DataFrame,
    ax: Axes | None = None,
    *,
    order: Order = "layer",
    published: pd.DataFrame | None = None,
) -> Axes:
    """One line per model with its interval, by layer or sorted by size; a triangle opens each stage.

    Needs ``model``, ``layer``, ``std`` and, for sorted order, ``rank``; draws intervals from ``std_low``
    and ``std_high``, and stages in layer order from ``stage``, where they are there. Layers that
    never ran are left out. ``published`` (``net``, ``order``, ``layer_index``, ``std``) adds thin lines in the
    colour of the model of the same name. Conclude from a lower line that a network's layers change their
    input less; in the paper residual networks lie below plain ones, and deep ones below shallow ones.
    """
    if ax is None:
        ax = new_figure()[1][0]
    with mpl.rc_context(RC):
        for number, (model, rows) in enumerate(frame.groupby("model", sort=False)):
            ran = rows.loc[rows["std"].notna()].sort_values(order)
            colour, dash = LINES[number % len(LINES)]
            x, y = ran[order].to_numpy(float), ran["std"].to_numpy(float)
            if "std_low" in ran and "std_high" in ran:
                ax.fill_between(x, ran["std_low"], ran["std_high"], color=colour, alpha=0.25, lw=0)
            ax.plot(x, y, dash, color=colour, linewidth=1.0, label=str(model))
            if order == "layer" and "stage" in ran:
                opens = np.flatnonzero(np.diff(ran["stage"].to_numpy(int))) + 1
                ax.plot(x[opens], y[opens], "^", color=colour, markersize=3.5, linewidth=0,
                        markeredgecolor="black", markeredgewidth=0.4)  # fmt: skip
            if published is not None:
                _published(ax, published, str(model), order, colour)
        ax.set_xlabel("Layer (in order)" if order == "layer" else "Layer (sorted by size)")
        ax.set_ylabel("Std of response")
        ax.set_ylim(bottom=0)
        whole_numbers(ax.xaxis)
    return ax


def _published(ax: Axes, curves: pd.DataFrame, model: str, order: Order, colour: str) -> None:
    wanted = curves.loc[curves["order"] == ("orig" if order == "layer" else "sorted")]
    for net, rows in wanted.groupby("net", sort=False):
        if _letters(str(net)) == _letters(model):
            ax.plot(rows["layer_index"], rows["std"], "-", color=colour, linewidth=0.6, alpha=0.75,
                    marker=".", markersize=2, label=f"{net}, published")  # fmt: skip


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def response(
    frame: pd.DataFrame, *, published: pd.DataFrame | None = None, width: float = FULL
) -> Figure:
    """The figure of ``response.csv``: layer order, and sorted by size; ``published`` as in ``draw``."""
    figure, axes = new_figure(width, 2.1, panels=2)
    models = len(set(frame["model"]))
    for ax, order in zip(axes, ("layer", "rank"), strict=True):
        draw(frame, ax, order=order, published=published)
        ax.set_ylim(axes[0].get_ylim())
    shown = models > 1 or published is not None
    handles: list[Any] = list(axes[0].get_lines() if shown else [])
    handles = [line for line in handles if not str(line.get_label()).startswith("_")]
    handles.append(Line2D([], [], marker="^", linestyle="", color="0.6", markersize=3.5,
                          markeredgecolor="black", markeredgewidth=0.4, label="first of a stage"))  # fmt: skip
    with mpl.rc_context(RC):
        wide = width > 0.7 * FULL
        columns = (4 if published is None else 3) if wide else (2 if published is None else 1)
        figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), columns),
                      handlelength=2.2)  # fmt: skip
    return figure
