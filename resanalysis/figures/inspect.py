"""The unraveled view as a picture: the chain of units; of a short one the tree of all paths.

Source: Veit et al. 2016, Figure 1.
"""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import networkx as nx
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Rectangle

from resanalysis.figures.style import FULL, RC

_TREE_UNITS = 5
_PITCH = 1.45  # of rows, in widths of a unit
# Where things stand inside a unit's cell, which is one wide.
_SPLIT, _BRANCH, _ADD, _JOIN = 0.06, 0.36, 0.72, 0.88


def units_per_row(units: int, width: float = FULL) -> int:
    """How many units stand side by side: fewer in a narrow column, more in a long chain."""
    room, rows = (9, 7) if width > 0.7 * FULL else (5, 12)
    if units > rows * room:
        room *= 2
    while units > 20 * room:
        room *= 2
    return room


def chain_graph(frame: pd.DataFrame) -> nx.DiGraph[Any]:
    """The chain as a graph from ``stem`` to ``head``: the skip and the branch are its two ways through a unit.

    Nodes are ``(kind, unit)`` with kind ``bridge``, ``split``, ``branch``, ``add`` or ``join``; edges carry
    ``way``: ``stream``, ``skip`` or ``branch``. A layer of a plain network has its branch only. Needs ``unit``
    and ``skip``, and reads ``bridge`` and ``join`` where they are there.
    """
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


def draw(frame: pd.DataFrame, ax: Axes | None = None, *, per_row: int | None = None) -> Axes:
    """The chain in rows: a box per branch, an arc per skip, ⊕ the addition, ▸ the join; colours are stages.

    Needs ``unit``, ``stage``, ``transition``, ``skip``; reads ``bridge`` and ``join`` where they are there. A
    dashed arc is a skip that is no identity; a bold box a transition; a grey bar a bridge of plain
    layers. Numbers are left out of the boxes of very long chains and stand before the rows.
    """
    row_size = per_row or units_per_row(len(frame))
    if ax is None:
        ax = Figure(figsize=_size(len(frame), row_size, FULL)).add_subplot()
    colours = sns.color_palette("colorblind")
    stage_of = dict(zip(frame["unit"].astype(int), frame["stage"].astype(int), strict=True))
    bold = set(frame.loc[frame["transition"].astype(bool), "unit"].astype(int))
    dashed = set(frame.loc[~frame["skip"].isin(["identity", "none"]), "unit"].astype(int))
    figure = ax.get_figure(root=True)
    width = FULL if figure is None else float(figure.get_figwidth())
    scale = min(1.0, _cell(row_size, width) / 0.5)
    graph = chain_graph(frame)
    rows = (len(frame) - 1) // row_size
    with mpl.rc_context(RC):
        for row in range(rows + 1):
            end = min(row_size, len(frame) - row * row_size)
            ax.annotate("", (end + 0.12, -_PITCH * row), (-0.04, -_PITCH * row), zorder=1,
                        arrowprops={"arrowstyle": "-|>", "mutation_scale": 6 * scale, "color": "0.35",
                                    "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0})  # fmt: skip
        for start, end, way in graph.edges(data="way"):
            if way == "skip":
                unit = start[1]
                (x0, y), (x1, _) = _place(start, row_size), _place(end, row_size)
                ax.add_patch(
                    FancyArrowPatch((x0, y), (x1 - 0.02, y + 0.06), arrowstyle="-", zorder=2,
                                    connectionstyle="arc3,rad=-0.85", linewidth=1.1 * max(scale, 0.5),
                                    color=colours[stage_of[unit] % len(colours)],
                                    linestyle=(0, (2, 1.2)) if unit in dashed else "-")
                )  # fmt: skip
        for node in graph:
            if not isinstance(node, str):
                x, y = _place(node, row_size)
                _draw_node(ax, node, x, y, colours[stage_of[node[1]] % len(colours)],
                           node[1] in bold, scale)  # fmt: skip
        ax.text(-0.12, 0, "stem", ha="right", va="center", fontsize=7)
        last = (len(frame) - 1) % row_size
        ax.text(last + 1.18, -_PITCH * rows, "head", ha="left", va="center", fontsize=7)
        if scale < 0.5:
            for row in range(1, rows + 1):
                ax.text(
                    -0.3, -_PITCH * row, str(row * row_size), ha="right", va="center", fontsize=6
                )
        room = 0.95 / scale  # for stem and head
        ax.set_xlim(-0.6 * room - 0.1, row_size + 0.7 * room)
        ax.set_ylim(-_PITCH * rows - 0.4, 0.75)
        ax.set_aspect("equal")
        ax.set_axis_off()
        _legend(ax, frame, colours, width)
    return ax


def _place(node: Any, row_size: int) -> tuple[float, float]:
    kind, unit = node
    row, column = divmod(unit, row_size)
    inside = {"bridge": -0.02, "split": _SPLIT, "branch": _BRANCH, "add": _ADD, "join": _JOIN}
    return column + inside[kind], -_PITCH * row


def _draw_node(
    ax: Axes, node: Any, x: float, y: float, colour: Any, bold: bool, scale: float
) -> None:
    kind, unit = node
    if kind == "branch":
        width = 1.6 if bold else 0.5
        ax.add_patch(Rectangle((x - 0.2, y - 0.2), 0.4, 0.4, facecolor=colour, edgecolor="black",
                               linewidth=width * max(scale, 0.5), zorder=3))  # fmt: skip
        if scale >= 0.5:
            dark = float(np.dot(colour, (0.299, 0.587, 0.114))) < 0.5
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


def _legend(ax: Axes, frame: pd.DataFrame, colours: Any, width: float) -> None:
    stages = [int(stage) for stage in dict.fromkeys(frame["stage"])]
    handles: list[Any] = [
        Rectangle((0, 0), 1, 1, facecolor=colours[stage % len(colours)], edgecolor="black",
                  linewidth=0.5, label=f"stage {stage}")
        for stage in stages[:6]
    ]  # fmt: skip
    if bool(frame["transition"].to_numpy(bool).any()):
        handles.append(Rectangle((0, 0), 1, 1, facecolor="white", edgecolor="black", linewidth=1.6,
                                 label="transition"))  # fmt: skip
    other = [str(kind) for kind in dict.fromkeys(frame["skip"]) if kind not in ("identity", "none")]
    if other:
        handles.append(Line2D([], [], color="0.2", linestyle=(0, (2, 1.2)), linewidth=1.1,
                              label=f"skip: {', '.join(other)}"))  # fmt: skip
    found = dict.fromkeys(frame["join"]) if "join" in frame else {}
    joins = [str(join) for join in found if str(join) != "none"]
    if joins:
        named = joins[0] if len(joins) == 1 and len(joins[0]) < 16 else "join"
        handles.append(Line2D([], [], color="black", linestyle="", marker=">", markersize=3,
                              label=named if named == "join" else f"join: {named}"))  # fmt: skip
    if "bridge" in frame and bool(frame["bridge"].to_numpy(bool).any()):
        handles.append(Rectangle((0, 0), 1, 1, color="0.55", label="bridge"))
    narrow = width <= 0.7 * FULL
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.02), handlelength=1.2,
              ncols=min(2 if narrow else 6, len(handles)), columnspacing=1.2)  # fmt: skip


def _size(units: int, row_size: int, width: float) -> tuple[float, float]:
    """Inches of a figure of the chain and its legend."""
    rows = (units - 1) // row_size + 1
    legend = 0.75 if width <= 0.7 * FULL else 0.45
    return width, _cell(row_size, width) * (_PITCH * rows + 0.2) + legend


def _cell(row_size: int, width: float) -> float:
    """Inches that one unit takes, with room for stem and head beside the row."""
    return width / (row_size + 1.3)


def path_tree(units: int) -> nx.DiGraph[tuple[int, tuple[int, ...]]]:
    """The unraveled tree: a node (depth, branches taken so far) for every partial path; 2ⁿ leaves."""
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


def draw_tree(units: int, ax: Axes) -> Axes:
    """Every path from input to output: solid edges take a branch, dotted ones a skip."""
    tree = path_tree(units)
    places: dict[tuple[int, tuple[int, ...]], tuple[float, float]] = {}
    for depth in range(units + 1):
        row = [node for node in tree if node[0] == depth]
        row.sort(key=lambda node: [unit in node[1] for unit in range(units)])
        for place, node in enumerate(row):
            places[node] = (float(depth), (place + 0.5) / len(row))
    with mpl.rc_context(RC):
        for start, end, branch in tree.edges(data="branch"):
            (x0, y0), (x1, y1) = places[start], places[end]
            ax.plot([x0, x1], [y0, y1], color="0.15" if branch else "0.55",
                    linewidth=0.9 if branch else 0.7, linestyle="-" if branch else ":")  # fmt: skip
        ends = [node for node in tree if node[0] == units]
        colours = sns.color_palette("viridis", units + 1)
        for node in ends:
            ax.plot(*places[node], "o", color=colours[len(node[1])], markersize=3)
            ax.text(units + 0.12, places[node][1], str(len(node[1])), fontsize=6, va="center")
        ax.set_xticks(range(units + 1))
        ax.set_xlabel("Units passed (solid: branch, dotted: skip;\nnumbers: path length)")
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        ax.set_xlim(-0.1, units + 0.4)
    return ax


def inspect(frame: pd.DataFrame, *, width: float = FULL) -> Figure:
    """The figure of ``inspect.csv``; a chain of up to five units is drawn with its tree of paths."""
    row_size = units_per_row(len(frame), width)
    size = _size(len(frame), row_size, width)
    tree = 2.3 if len(frame) <= _TREE_UNITS else 0.0
    with mpl.rc_context(RC):
        figure = Figure(figsize=(width, size[1] + tree))
        if tree:
            grid = figure.add_gridspec(2, 1, height_ratios=[size[1], tree])
            draw(frame, figure.add_subplot(grid[0]), per_row=row_size)
            draw_tree(len(frame), figure.add_subplot(grid[1]))
        else:
            draw(frame, figure.add_subplot(), per_row=row_size)
    return figure
