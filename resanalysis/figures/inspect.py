"""The unraveled view as a picture: the chain of units; of a short one the tree of all paths.

Source: Veit et al. 2016, Figure 1.
"""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import networkx as nx
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from resanalysis.figures.style import FULL, RC, new_figure

_PER_ROW = 9
_TREE_UNITS = 5


def draw(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The chain in rows: a box per branch, an arc per skip, a ⊕ per addition; colours are stages.

    Needs ``unit``, ``stage``, ``transition``, ``skip``, ``bridge``. A dashed arc is a skip that is no
    identity; a bold box a transition; a grey bar a bridge of plain layers.
    """
    if ax is None:
        ax = new_figure(FULL, 1.0 + 0.75 * (len(frame) // _PER_ROW))[1][0]
    colours = sns.color_palette("colorblind")
    bridges = frame["bridge"] if "bridge" in frame else pd.Series(False, index=frame.index)
    with mpl.rc_context(RC):
        for unit, stage, transition, skip, bridge in zip(
            frame["unit"], frame["stage"], frame["transition"], frame["skip"], bridges, strict=True
        ):
            row, column = divmod(int(unit), _PER_ROW)
            x, y = float(column), -1.5 * row
            colour = colours[int(stage) % len(colours)]
            ax.plot([x, x + 1], [y, y], color="0.4", linewidth=0.8, zorder=1)
            ax.add_patch(
                Rectangle((x + 0.2, y - 0.2), 0.4, 0.4, facecolor=colour, edgecolor="black",
                          linewidth=1.6 if transition else 0.5, zorder=2)
            )  # fmt: skip
            ax.text(x + 0.4, y, str(unit), ha="center", va="center", fontsize=6.5, zorder=4,
                    color="white" if sum(colour) < 1.8 else "black")  # fmt: skip
            if skip != "none":
                ax.add_patch(
                    FancyArrowPatch((x + 0.06, y), (x + 0.82, y), connectionstyle="arc3,rad=-0.75",
                                    arrowstyle="-", color=colour, linewidth=1.0,
                                    linestyle="-" if skip == "identity" else (0, (2, 1.2)))
                )  # fmt: skip
                ax.plot([x + 0.82], [y], marker="o", markersize=4.5, color="white",
                        markeredgecolor="black", markeredgewidth=0.5, zorder=3)  # fmt: skip
                ax.plot([x + 0.82], [y], marker="+", markersize=3.2, color="black",
                        markeredgewidth=0.5, zorder=4)  # fmt: skip
            if bridge:
                ax.add_patch(Rectangle((x - 0.04, y - 0.25), 0.08, 0.5, color="0.55", zorder=3))
        rows = (len(frame) - 1) // _PER_ROW
        ax.text(-0.12, 0, "stem", ha="right", va="center", fontsize=7)
        last = (len(frame) - 1) % _PER_ROW
        ax.text(last + 1.1, -1.5 * rows, "head", ha="left", va="center", fontsize=7)
        ax.set_xlim(-0.75, _PER_ROW + 0.6)
        ax.set_ylim(-1.5 * rows - 0.55, 0.75)
        ax.set_aspect("equal")
        ax.set_axis_off()
        stages = list(dict.fromkeys(frame["stage"]))
        handles: list[Any] = [
            Rectangle((0, 0), 1, 1, facecolor=colours[int(stage) % len(colours)], edgecolor="black",
                      linewidth=0.5, label=f"stage {stage}")
            for stage in stages[: len(colours)]
        ]  # fmt: skip
        if bool(frame["transition"].to_numpy().any()):
            handles.append(Rectangle((0, 0), 1, 1, facecolor="white", edgecolor="black",
                                     linewidth=1.6, label="transition"))  # fmt: skip
        if bool(bridges.to_numpy().any()):
            handles.append(Rectangle((0, 0), 1, 1, color="0.55", label="bridge"))
        ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), handlelength=1.0,
                  ncols=min(6, len(handles)))  # fmt: skip
    return ax


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
        ax.set_xlabel("Units passed (solid: branch, dotted: skip; numbers: path length)")
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        ax.set_xlim(-0.1, units + 0.4)
    return ax


def inspect(frame: pd.DataFrame, *, width: float = FULL) -> Figure:
    """The figure of ``inspect.csv``; a chain of up to five units is drawn with its tree of paths."""
    rows = (len(frame) - 1) // _PER_ROW + 1
    tree = len(frame) <= _TREE_UNITS
    height = (0.55 + 0.82 * rows) * width / FULL + (2.4 if tree else 0)
    with mpl.rc_context(RC):
        figure = Figure(figsize=(width, height))
        if tree:
            grid = figure.add_gridspec(2, 1, height_ratios=[1, 2.4])
            draw(frame, figure.add_subplot(grid[0]))
            draw_tree(len(frame), figure.add_subplot(grid[1]))
        else:
            draw(frame, figure.add_subplot())
    return figure
