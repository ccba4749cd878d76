"""Response of each layer, in layer order and sorted by size (He et al. 2015, Figure 7)."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
import numpy as np

from resanalysis.figures.style import (
    BLUE,
    FULL,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RC,
    RED,
    YELLOW,
    Draw,
    one_axes,
    panelled,
    whole_numbers,
)
from resanalysis.figures.words import Headlines, column

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "How strongly each layer responds"
HOW_TO_READ = (
    "Standard deviation of each layer's response, after the batch norm that reads it and before the "
    "nonlinearity or addition, in layer order and sorted by size; layers of another kind, and those that "
    "no batch norm reads, are a line of their own. Conclude from a lower line that a network's layers "
    "change their input less. Bands are 95 % bootstrap intervals over images."
)

_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, GREY, YELLOW)
_DASHES = ("-", "--", "-.", ":")
"""Of each model: told apart also in grey. Seven and four: the first pair is back with the 29th model."""
_MARKERS = ("", "o", "s", "D", "v", "P")
"""Marker of each kind of layer of a model: the first is a bare line."""

_LEGEND_ROW = 0.16
"""Inches."""

Order = Literal["layer", "rank"]


@mpl.rc_context(RC)
def draw(
    frame: pd.DataFrame,
    ax: Axes | None = None,
    *,
    order: Order = "layer",
    published: pd.DataFrame | None = None,
) -> Axes:
    """A line per model and kind of layer with its interval, by layer or sorted by size; triangles open stages.

    Needs ``model``, ``layer``, ``std`` and, for sorted order, ``rank``; draws intervals from ``std_low`` and
    ``std_high``, and stages in layer order from ``stage``, where they are there. Where ``batch_norm`` or
    ``kind`` tell layers apart, responses that are not alike are never joined: a model has a line for each,
    sorted for itself. Layers that never ran are left out. ``published`` (``net``, ``order``,
    ``layer_index``, ``std``) adds thin lines in the colour of the model of the same name. Conclude from a
    lower line that a network's layers change their input less; in the paper residual networks lie below plain
    ones, and deep ones below shallow.
    """
    ax = ax or one_axes()
    for number, (model, rows) in enumerate(frame.groupby("model", sort=False)):
        look = _COLOURS[number % len(_COLOURS)], _DASHES[number % len(_DASHES)]
        ran = rows.loc[rows["std"].notna()].sort_values(order)
        for marker, (name, alike) in zip(_MARKERS, _alike(ran), strict=False):
            _line(ax, alike, order, look, marker, f"{model}{name}")
        if order == "layer" and "stage" in ran:
            opens = ran.iloc[np.flatnonzero(np.diff(ran["stage"].to_numpy(int))) + 1]
            ax.plot(opens["layer"], opens["std"], "^", color=look[0], markersize=3.5, linewidth=0,
                    markeredgecolor="black", markeredgewidth=0.4)  # fmt: skip
        if published is not None:
            _published(ax, published, str(model), order, look[0])
    ax.set_xlabel("Layer (in order)" if order == "layer" else "Layer (sorted by size)")
    ax.set_ylabel("Std of response")
    ax.set_ylim(bottom=0)
    whole_numbers(ax.xaxis)
    return ax


def _alike(ran: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The layers whose responses can be compared, the most first, and what sets them apart in the legend."""
    kinds = ran["kind"].astype(str).tolist() if "kind" in ran else [""] * len(ran)
    after = ran["batch_norm"].astype(bool).tolist() if "batch_norm" in ran else [True] * len(ran)
    keys = list(zip(kinds, after, strict=True))
    several, mixed = len(set(kinds)) > 1, len(set(after)) > 1
    found: list[tuple[str, pd.DataFrame]] = []
    for key, _ in Counter(keys).most_common():
        name = (f", {key[0]}" if several else "") + _norm(key[1], mixed)
        found.append((name, ran.loc[[one == key for one in keys]]))
    return found


def _norm(after: bool, mixed: bool) -> str:
    """Whether a batch norm reads the layers; of a model where one reads all, nothing is said."""
    if not after:
        return ", no batch norm"
    return ", after batch norm" if mixed else ""


def _line(
    ax: Axes, rows: pd.DataFrame, order: Order, look: tuple[str, str], marker: str, label: str
) -> None:
    colour, dash = look
    x = rows["layer"].to_numpy(float) if order == "layer" else np.arange(1.0, len(rows) + 1)
    if "std_low" in rows and "std_high" in rows:
        ax.fill_between(x, rows["std_low"], rows["std_high"], color=colour, alpha=0.25, lw=0)
    ax.plot(x, rows["std"].to_numpy(float), color=colour, linestyle=dash, marker=marker, linewidth=1.0,
            markersize=2.6, markerfacecolor="white", markeredgewidth=0.7, label=label)  # fmt: skip


def _published(ax: Axes, curves: pd.DataFrame, model: str, order: Order, colour: str) -> None:
    from resanalysis.statistics.curves import same_net

    wanted = curves.loc[curves["order"] == ("orig" if order == "layer" else "sorted")]
    for net, rows in wanted.groupby("net", sort=False):
        if same_net(str(net), model):
            ax.plot(rows["layer_index"], rows["std"], "-", color=colour, linewidth=0.6, alpha=0.75,
                    marker=".", markersize=2, label=f"{net}, published")  # fmt: skip


@mpl.rc_context(RC)
def response(
    frame: pd.DataFrame,
    *,
    published: pd.DataFrame | None = None,
    width: float = FULL,
    panel: str | None = None,
) -> Figure:
    """The figure of ``response.csv``.

    Parameters
    ----------
    published : as for ``draw``.
    panel : ``a``, the layers in their order; ``b``, sorted by size.
    """
    orders: tuple[Order, ...] = ("layer", "rank")
    drawn: list[Draw] = [
        lambda ax, order=order: draw(frame, ax, order=order, published=published)
        for order in orders
    ]
    figure, axes = panelled(drawn, "response", width=width, panel=panel, height=2.1)
    # One scale: the second panel is the first one sorted.
    top = max(ax.get_ylim()[1] for ax in axes)
    for ax in axes:
        ax.set_ylim(0, top)
    _legend(figure, axes[0], width)
    return figure


def _legend(figure: Figure, ax: Axes, width: float) -> None:
    """What the lines are, where there is more than one, and the triangles, in as many columns as fit."""
    from matplotlib.lines import Line2D

    handles, _ = ax.get_legend_handles_labels()
    shown: list[Any] = handles if len(handles) > 1 else []
    if any(line.get_marker() == "^" for line in ax.get_lines()):
        shown.append(Line2D([], [], marker="^", linestyle="", color="0.6", markersize=3.5, markeredgewidth=0.4,
                            markeredgecolor="black", label="first of a stage"))  # fmt: skip
    if shown:
        longest = max(len(str(handle.get_label())) for handle in shown)
        columns = max(1, int(width / (0.5 + 0.052 * longest)))  # inches of a handle, of a letter
        # The axes keep their height: five networks with their published curves are six rows.
        more = max(0, math.ceil(len(shown) / columns) - 2)
        figure.set_figheight(figure.get_figheight() + _LEGEND_ROW * more)
        figure.legend(handles=shown, loc="outside upper center", ncols=min(len(shown), columns),
                      handlelength=2.2)  # fmt: skip


def headlines(frame: pd.DataFrame) -> Headlines:
    """Of every model its layers, their median and the largest; with published curves the distance from them."""
    rows: Headlines = []
    for model, layers in frame.groupby("model", sort=False):
        rows += _of_model(str(model), layers)
    for row in frame.attrs.get("distance", []):
        order = "layers" if row["order"] == "orig" else "sorted"
        rows.append(
            (
                f"{row['model']} against {row['net']}, {order}",
                f"median ratio {row['median_ratio']:.2f}, rms log ratio {row['rms_log_ratio']:.2f}, "
                f"correlation {row['correlation']:.2f}  ({row['layers']} layers)",
            )
        )
    return rows


def _of_model(model: str, layers: pd.DataFrame) -> Headlines:
    ran = layers.loc[layers["std"].notna()]
    if ran.empty:
        return [(model, "no layer ran")]
    rows: Headlines = []
    for name, alike in _alike(ran):
        std = column(alike, "std")
        top = alike.iloc[int(std.argmax())]
        rows.append(
            (
                f"{model}{name}",
                f"{len(alike)} layers, median std {np.median(std):.3g}, largest {top['std']:.3g} "
                f"(layer {int(top['layer'])}, {top['name']})",
            )
        )
    if len(ran) < len(layers):
        rows.append((f"{model}: never ran", ", ".join(layers.loc[layers["std"].isna(), "name"])))
    return rows
