"""The unraveled view as a picture: the chain of units; of a short one the tree of all paths.

Source: Veit et al. 2016, Figure 1.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from resanalysis.figures.style import (
    FULL,
    PALETTE,
    RC,
    TALLEST,
    Draw,
    blank,
    check_width,
    narrow,
    only,
    panel_letter,
)
from resanalysis.figures.words import Headlines, column

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "The unraveled view"
HOW_TO_READ = (
    "The network as stem, units and head: a box is a branch, an arc its skip, colours are stages, bold "
    "boxes change the stream's shape; of a short chain every path from input to output. Conclude how many "
    "paths there are: a unit with a skip doubles them, a plain layer does not. Nothing here is estimated."
)

_TREE_UNITS = 5
_TREE_HEIGHT = 2.3
_PITCH = 1.45  # of rows, in widths of a unit
_LEGIBLE = 0.6  # numbers in boxes smaller than this cannot be read
# Where things stand inside a unit's cell, which is one wide.
_INSIDE = {"bridge": -0.02, "split": 0.06, "branch": 0.36, "add": 0.72, "join": 0.88}
_DASHES: Any = (0, (2, 1.2))


def units_per_row(units: int, width: float = FULL) -> int:
    """How many units stand side by side: fewer in a narrow column, more in a long chain."""
    room, rows = (5, 12) if narrow(width) else (9, 7)
    if units > rows * room:
        room *= 2
    while units > 20 * room or _size(units, room, width)[1] > TALLEST:
        room *= 2
    return room


def chain_graph(frame: pd.DataFrame) -> nx.DiGraph[Any]:
    """The chain as a graph from ``stem`` to ``head``: the skip and the branch are its two ways through a unit.

    Nodes are ``(kind, unit)`` with kind ``bridge``, ``split``, ``branch``, ``add`` or ``join``; edges carry
    ``way``: ``stream``, ``skip`` or ``branch``. A layer of a plain network has its branch only. Needs ``unit``
    and ``skip``, and reads ``bridge`` and ``join`` where they are there.
    """
    import networkx as nx

    graph: nx.DiGraph[Any] = nx.DiGraph()
    last: Any = "stem"
    graph.add_node(last)
    for row in frame.to_dict("records"):
        unit = int(row["unit"])
        nodes: list[Any] = [("bridge", unit)] if row.get("bridge") else []
        if row["skip"] == "none":
            nodes.append(("branch", unit))
        else:
            nodes.append(("split", unit))
        for node in nodes:
            graph.add_edge(last, node, way="stream")
            last = node
        if row["skip"] != "none":
            graph.add_edge(last, ("add", unit), way="skip")
            graph.add_edge(last, ("branch", unit), way="branch")
            graph.add_edge(("branch", unit), ("add", unit), way="branch")
            last = ("add", unit)
        if str(row.get("join", "none")) != "none":
            graph.add_edge(last, ("join", unit), way="stream")
            last = ("join", unit)
    graph.add_edge(last, "head", way="stream")
    return graph


@mpl.rc_context(RC)
def draw(frame: pd.DataFrame, ax: Axes | None = None, *, per_row: int | None = None) -> Axes:
    """The chain in rows: a box per branch, an arc per skip, ⊕ the addition, ▸ the join; colours are stages.

    Needs ``unit``, ``stage``, ``transition``, ``skip``; reads ``bridge`` and ``join`` where they are there. A
    dashed arc is a skip that is no identity; a bold box a transition; a grey bar a bridge of plain
    layers. Numbers are left out of the boxes of very long chains and stand before the rows.
    """
    row_size = per_row or units_per_row(len(frame))
    if ax is None:
        ax = blank(*_size(len(frame), row_size, FULL)).add_subplot()
    figure = ax.get_figure(root=True)
    width = FULL if figure is None else float(figure.get_figwidth())
    scale = min(1.0, _cell(row_size, width) / 0.5)
    colours = dict(zip(frame["unit"].astype(int), _stage_colours(frame), strict=True))
    graph = chain_graph(frame)
    _draw_stream(ax, len(frame), row_size, scale)
    _draw_skips(ax, graph, frame, row_size, colours, scale)
    bold = set(frame.loc[frame["transition"].astype(bool), "unit"].astype(int))
    for node in graph:
        if not isinstance(node, str):
            at = _place(node, row_size)
            _draw_node(ax, node, at, colours[node[1]], node[1] in bold, scale)
    room = 0.95 / scale  # for stem and head
    ax.set_xlim(-0.6 * room - 0.1, row_size + 0.7 * room)
    ax.set_ylim(-_PITCH * ((len(frame) - 1) // row_size) - 0.4, 0.75)
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.set_title(_in_words(frame, "$2^{{{}}}$"), fontsize=8, pad=2)
    _legend(ax, frame, narrow(width))
    return ax


def _stage_colours(frame: pd.DataFrame) -> list[str]:
    return [PALETTE[stage % len(PALETTE)] for stage in frame["stage"].astype(int)]


def _draw_stream(ax: Axes, units: int, row_size: int, scale: float) -> None:
    """An arrow through every row, the ends of the chain named, and of a chain without numbers its rows."""
    rows = (units - 1) // row_size
    for row in range(rows + 1):
        end = min(row_size, units - row * row_size)
        ax.annotate("", (end + 0.12, -_PITCH * row), (-0.04, -_PITCH * row), zorder=1,
                    arrowprops={"arrowstyle": "-|>", "mutation_scale": 6 * scale, "color": "0.35",
                                "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0})  # fmt: skip
    ax.text(-0.12, 0, "stem", ha="right", va="center", fontsize=7)
    last = (units - 1) % row_size
    ax.text(last + 1.18, -_PITCH * rows, "head", ha="left", va="center", fontsize=7)
    if scale < _LEGIBLE:
        for row in range(1, rows + 1):
            ax.text(-0.3, -_PITCH * row, str(row * row_size), ha="right", va="center", fontsize=6)


def _draw_skips(
    ax: Axes, graph: nx.DiGraph[Any], frame: pd.DataFrame, row_size: int, colours: dict[int, str], scale: float
) -> None:  # fmt: skip
    from matplotlib.patches import FancyArrowPatch

    dashed = set(frame.loc[~frame["skip"].isin(["identity", "none"]), "unit"].astype(int))
    for start, end in [(a, b) for a, b, way in graph.edges(data="way") if way == "skip"]:
        (x0, y), (x1, _) = _place(start, row_size), _place(end, row_size)
        ax.add_patch(
            FancyArrowPatch((x0, y), (x1 - 0.02, y + 0.06), arrowstyle="-", zorder=2,
                            connectionstyle="arc3,rad=-0.85", linewidth=1.1 * max(scale, 0.5),
                            color=colours[start[1]], linestyle=_DASHES if start[1] in dashed else "-")
        )  # fmt: skip


def _place(node: Any, row_size: int) -> tuple[float, float]:
    kind, unit = node
    row, place = divmod(unit, row_size)
    return place + _INSIDE[kind], -_PITCH * row


def _draw_node(
    ax: Axes, node: Any, at: tuple[float, float], colour: str, bold: bool, scale: float
) -> None:
    """A box for a branch, with its number where that can be read; ⊕, ▸ or a bar for the others."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Rectangle

    kind, unit = node
    x, y = at
    if kind == "branch":
        width = (1.6 if bold else 0.5) * max(scale, 0.5)
        ax.add_patch(Rectangle((x - 0.2, y - 0.2), 0.4, 0.4, facecolor=colour, edgecolor="black",
                               linewidth=width, zorder=3))  # fmt: skip
        if scale >= _LEGIBLE:
            # The eye's own weights of red, green and blue.
            dark = float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114))) < 0.5
            ax.text(x, y - 0.01, str(unit), ha="center", va="center", fontsize=6.5 * scale**0.7, zorder=4,
                    color="white" if dark else "black")  # fmt: skip
    elif kind == "add":
        ax.plot([x], [y], "o", markersize=4.6 * scale, color="white", markeredgecolor="black",
                markeredgewidth=0.5 * scale, zorder=3)  # fmt: skip
        ax.plot([x], [y], "+", markersize=3.4 * scale, color="black", markeredgewidth=0.5 * scale,
                zorder=4)  # fmt: skip
    elif kind == "join":
        ax.plot([x], [y], ">", markersize=3 * scale, color="black", markeredgewidth=0, zorder=3)
    elif kind == "bridge":
        ax.add_patch(Rectangle((x - 0.04, y - 0.25), 0.08, 0.5, color="0.55", zorder=3, lw=0))


def _legend(ax: Axes, frame: pd.DataFrame, tight: bool) -> None:
    handles = [*_boxes(frame), *_lines(frame)]
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.02), handlelength=1.2,
              ncols=min(2 if tight else 6, len(handles)), columnspacing=1.2)  # fmt: skip


def _boxes(frame: pd.DataFrame) -> list[Any]:
    """Of the legend: the first six stages, transitions, bridges."""
    from matplotlib.patches import Rectangle

    colour_of = dict(zip(frame["stage"].astype(int), _stage_colours(frame), strict=True))
    looks: list[dict[str, Any]] = [
        {"facecolor": colour, "edgecolor": "black", "linewidth": 0.5, "label": f"stage {stage}"}
        for stage, colour in list(colour_of.items())[:6]
    ]
    if frame["transition"].to_numpy(bool).any():
        looks.append(
            {"facecolor": "white", "edgecolor": "black", "linewidth": 1.6, "label": "transition"}
        )
    if "bridge" in frame and frame["bridge"].to_numpy(bool).any():
        looks.append({"color": "0.55", "label": "bridge"})
    return [Rectangle((0, 0), 1, 1, **look) for look in looks]


def _lines(frame: pd.DataFrame) -> list[Any]:
    """Of the legend: skips that are no identity, and what follows the addition."""
    from matplotlib.lines import Line2D

    looks: list[dict[str, Any]] = []
    other = [kind for kind in frame["skip"].unique() if kind not in ("identity", "none")]
    if other:
        looks.append({"color": "0.2", "linestyle": _DASHES, "linewidth": 1.1,
                      "label": f"skip: {', '.join(other)}"})  # fmt: skip
    found = frame["join"].unique() if "join" in frame else []
    joins = [str(join) for join in found if join != "none"]
    if joins:
        named = f"join: {joins[0]}" if len(joins) == 1 and len(joins[0]) < 16 else "join"
        looks.append({"color": "black", "linestyle": "", "marker": ">", "markersize": 3,
                      "label": named})  # fmt: skip
    return [Line2D([], [], **look) for look in looks]


def _size(units: int, row_size: int, width: float) -> tuple[float, float]:
    """Inches of a figure of the chain, with its title and legend."""
    rows = (units - 1) // row_size + 1
    around = 0.9 if narrow(width) else 0.6
    return width, _cell(row_size, width) * (_PITCH * rows - 0.3) + around


def _cell(row_size: int, width: float) -> float:
    """Inches that one unit takes, with room for stem and head beside the row."""
    return width / (row_size + 1.3)


def path_tree(units: int) -> nx.DiGraph[tuple[int, tuple[int, ...]]]:
    """The unraveled tree: a node (depth, branches taken so far) for every partial path; 2ⁿ leaves."""
    import networkx as nx

    tree: nx.DiGraph[tuple[int, tuple[int, ...]]] = nx.DiGraph()
    level: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    tree.add_nodes_from(level)
    for unit in range(units):
        following: list[tuple[int, tuple[int, ...]]] = []
        for depth, taken in level:
            for choice in (0, 1):
                child = (depth + 1, (*taken, unit) if choice else taken)
                tree.add_edge((depth, taken), child, branch=bool(choice))
                following.append(child)
        level = following
    return tree


def _height(depth: int, taken: tuple[int, ...]) -> float:
    """Where a partial path stands from 0 to 1: with the first branch in the upper half, and so on."""
    return (sum(2 ** (depth - 1 - unit) for unit in taken) + 0.5) / 2**depth


@mpl.rc_context(RC)
def draw_tree(units: int, ax: Axes) -> Axes:
    """Every path from input to output: solid edges take a branch, dotted ones a skip."""
    tree = path_tree(units)
    places = {node: (float(node[0]), _height(*node)) for node in tree}
    for start, end, branch in tree.edges(data="branch"):
        (x0, y0), (x1, y1) = places[start], places[end]
        ax.plot([x0, x1], [y0, y1], color="0.15" if branch else "0.55",
                linewidth=0.9 if branch else 0.7, linestyle="-" if branch else ":")  # fmt: skip
    ends = [node for node in tree if node[0] == units]
    for node in ends:
        colour = mpl.colormaps["viridis"]((len(node[1]) + 1) / (units + 2))
        ax.plot(*places[node], "o", color=colour, markersize=3)
        ax.text(units + 0.12, places[node][1], str(len(node[1])), fontsize=6, va="center")
    ax.set_xticks(range(units + 1))
    ax.set_xlabel("Units passed (solid: branch, dotted: skip;\nnumbers: path length)")
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.set_xlim(-0.1, units + 0.4)
    return ax


@mpl.rc_context(RC)
def inspect(frame: pd.DataFrame, *, width: float = FULL, panel: str | None = None) -> Figure:
    """The figure of ``inspect.csv``.

    Parameters
    ----------
    panel : ``a``, the chain; ``b``, of up to five units with skips and no others, the tree of their paths.
    """
    check_width(width)
    row_size = units_per_row(len(frame), width)
    drawn: list[Draw] = [lambda ax: draw(frame, ax, per_row=row_size)]
    heights = [_size(len(frame), row_size, width)[1]]
    if len(frame) <= _TREE_UNITS and _residual(frame) == len(frame):
        drawn.append(lambda ax: draw_tree(len(frame), ax))
        heights.append(_TREE_HEIGHT)
    chosen = only(panel, drawn, "inspect")
    heights = [heights[drawn.index(one)] for one in chosen]
    figure = blank(width, sum(heights))
    grid = figure.add_gridspec(len(chosen), 1, height_ratios=heights)
    axes = [figure.add_subplot(grid[row]) for row in range(len(chosen))]
    for one, ax in zip(chosen, axes, strict=True):
        one(ax)
    for letter, ax in zip("ab" if len(axes) > 1 else "", axes, strict=False):
        panel_letter(ax, letter)
    return figure


def _residual(frame: pd.DataFrame) -> int:
    """How many units have a skip: each doubles the paths."""
    return int((frame["skip"] != "none").to_numpy().sum())


def _in_words(frame: pd.DataFrame, power: str) -> str:
    """Units, layers without a skip, and paths; ``power`` writes a power of two."""
    residual = _residual(frame)
    plain = len(frame) - residual
    if not residual:
        return f"{_counted(plain, 'layer')}, one path"
    units = _counted(residual, "unit") + (f" and {_counted(plain, 'plain layer')}" if plain else "")
    return f"{units}, {power.format(residual)} paths"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def headlines(frame: pd.DataFrame) -> Headlines:
    """What the chain consists of and what it costs: units and, where ``attrs`` has them, stem and head."""
    transitions = [
        f"{unit} ({name})"
        for unit, name, there in zip(frame["unit"], frame["name"], frame["transition"], strict=True)
        if there
    ]
    skips = Counter(kind for kind in frame["skip"] if kind != "none")
    rows = [("chain", _in_words(frame, "2^{}")), ("stages", str(frame["stage"].nunique()))]
    if skips:
        rows.append(("skips", ", ".join(f"{count} {kind}" for kind, count in skips.most_common())))
    if transitions:
        rows.append(("transitions", ", ".join(transitions)))
    rows.append(("parameters in units", f"{int(column(frame, 'parameters').sum()):,}"))
    return rows + _costs(frame)


def _costs(frame: pd.DataFrame) -> Headlines:
    """Parameters outside of the units, and operations of one example; what was not counted is left out."""
    parts: list[dict[str, Any]] = frame.attrs.get("parts") or []
    rows = [
        (f"parameters in {part['part']}", f"{part['parameters']:,}")
        for part in parts
        if part["part"] in ("stem", "head")
    ]
    if "flops" in frame:
        counts = {"units": column(frame, "flops").sum()}
        known = [np.nan if part["flops"] is None else part["flops"] for part in parts]
        if parts:
            counts["whole network"] = counts["units"] + sum(known)
        rows += [
            (f"operations of the {what}, one example", f"{count:.4g} FLOPs, {count / 2:.4g} MACs")
            for what, count in counts.items()
            if np.isfinite(count)
        ]
    return rows
