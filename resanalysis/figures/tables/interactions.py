"""Interaction of every two units, as a map and as a network of the strongest."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import matplotlib as mpl
import networkx as nx
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from resanalysis.figures.style import FULL, RC, new_figure, panelled
from resanalysis.figures.words import Finding, examples

Score = Literal["loss", "margin", "error"]
# The ends of the map's colours, dark enough for lines.
REDUNDANT, SYNERGISTIC = "#b35806", "#542788"
# How a pair's line looks, by the sign of its interaction.
LOOKS: tuple[tuple[str, str, Any, int], ...] = (
    ("redundant", REDUNDANT, "-", 1),
    ("synergistic", SYNERGISTIC, "--", -1),
)
UNITS = {"loss": "nats", "margin": "logits", "error": "fraction"}
# Below it a pair counts as found, after the correction for the number of pairs.
LEVEL = 0.05
# More lines than this for each unit hide each other.
LINES_PER_UNIT = 1.5
# A few pairs of transitions may be a hundred times the rest: the colours serve the others.
COLOURED = 0.95


def draw(frame: pd.DataFrame, ax: Axes | None = None, *, score: Score = "loss") -> Axes:
    """The interaction of every two units in a triangle, a dot where it is found after FDR correction.

    Needs ``unit_a``, ``unit_b``, ``stage_a``, ``stage_b``, and the score's ``interaction`` and ``p_fdr``. Lines
    part the stages. Colours end at the 95 % quantile of the sizes. Conclude from a pale triangle that damages
    add; from orange cells, that two units stand in for each other; from purple ones, that they need each other
    or that the damage has come to its end.
    """
    import seaborn as sns  # most commands draw nothing with it, and it takes half a second

    if ax is None:
        ax = new_figure()[1][0]
    prefix = _prefix(score)
    name = f"{prefix}interaction"
    table = frame.pivot(index="unit_b", columns="unit_a", values=name)
    # Not the largest: one pair would bleach all the others.
    end = float(np.nanquantile(np.abs(frame[name].to_numpy(float)), COLOURED)) or 1.0
    step = max(1, len(table) // 6)
    with mpl.rc_context(RC):
        scale = ax.inset_axes((0.50, 0.93, 0.48, 0.035))
        sns.heatmap(
            table, ax=ax, cmap="PuOr_r", vmin=-end, vmax=end, center=0, square=True,
            xticklabels=step, yticklabels=step, rasterized=True, cbar_ax=scale,
            cbar_kws={"orientation": "horizontal", "extend": "both", "ticks": [-end, 0, end]},
        )  # fmt: skip
        scale.set_xticklabels([f"{value:.2g}" for value in (-end, 0.0, end)])
        scale.tick_params(labelsize=6, length=1.5, pad=1)
        scale.set_xlabel(f"interaction in the {score} ({UNITS[score]})", fontsize=6, labelpad=1)
        row = {unit: place for place, unit in enumerate(table.index)}
        column = {unit: place for place, unit in enumerate(table.columns)}
        found = frame.loc[frame[f"{prefix}p_fdr"] < LEVEL]
        ax.scatter(
            [column[unit] + 0.5 for unit in found["unit_a"]],
            [row[unit] + 0.5 for unit in found["unit_b"]],
            s=min(4.0, 250 / len(table) ** 1.5), linewidth=0,
            color=np.where(found[name].abs() > 0.7 * end, "white", "0.15"),
        )  # fmt: skip
        ax.text(0.98, 0.74, f"dot: FDR < {100 * LEVEL:.0f} %\nlines: stages", fontsize=6,
                transform=ax.transAxes, ha="right", va="top")  # fmt: skip
        stage = _stages(frame)
        for unit in sorted(stage):
            if unit in row and unit in column and stage[unit] != stage.get(unit - 1, stage[unit]):
                ax.plot([0, column[unit]], [row[unit]] * 2, color="0.4", linewidth=0.6)
                ax.plot([column[unit]] * 2, [row[unit], len(table)], color="0.4", linewidth=0.6)
        ax.tick_params(length=1.5, labelrotation=0)
        ax.set_xlabel("Unit a")
        ax.set_ylabel("Unit b")
    return ax


def draw_network(frame: pd.DataFrame, ax: Axes | None = None, *, score: Score = "loss") -> Axes:
    """The units on a circle, and a line for each of the strongest pairs that are found after FDR correction.

    Needs the columns of ``draw``. At most 1.5 lines a unit are drawn, the strongest; their width is the size
    of the interaction. Conclude from lines along the circle that neighbours depend on each other; from lines
    to one unit, that many others stand in for it or need it.
    """
    import seaborn as sns

    if ax is None:
        ax = new_figure()[1][0]
    stage = _stages(frame)
    units = sorted(stage)
    graph = strongest(frame, score)
    width = ax.get_figure(root=True).get_figwidth()  # type: ignore[union-attr]
    panel = width if width < 0.7 * FULL else width / 2
    with mpl.rc_context(RC):
        turn = np.pi / 2 - 2 * np.pi * np.arange(len(units)) / len(units)  # clockwise from the top
        place = {u: (np.cos(at), np.sin(at)) for u, at in zip(units, turn, strict=True)}
        colours = sns.color_palette("Greys", len(set(stage.values())) + 2)[: len(units)]
        # Circles fill six tenths of what is between two, so that lines can pass; a node's size is an area.
        apart = 2 * np.pi * 0.4 * 72 * panel / max(len(units), 16)  # points along the circle
        size = (0.6 * apart) ** 2
        nx.draw_networkx_nodes(
            graph, place, nodelist=units, ax=ax, node_size=size, linewidths=0.4, edgecolors="0.3",
            node_color=[colours[stage[unit]] for unit in units],
        )  # fmt: skip
        nx.draw_networkx_labels(
            graph,
            place,
            ax=ax,
            font_size=float(np.clip(0.38 * apart, 4.2, 6.5)),
            font_color="0.05",
            verticalalignment="center_baseline",
        )
        _draw_pairs(graph, place, ax, size)
        ax.legend(
            [Line2D([], [], color=colour, linestyle=style) for _, colour, style, _ in LOOKS],
            [f"{name} ({'>' if sign > 0 else '<'} 0)" for name, *_, sign in LOOKS],
            loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=2, handlelength=1.8,
            columnspacing=1.0, borderaxespad=0.1,
        )  # fmt: skip
        ax.set_xlim(-1.15, 1.15)
        ax.set_ylim(-1.15, 1.15)
        ax.set_aspect("equal")
        ax.set_axis_off()
    return ax


def _draw_pairs(
    graph: nx.Graph[int], place: Mapping[int, tuple[float, float]], ax: Axes, size: float
) -> None:
    """A line for each pair, as wide as its interaction is large."""
    pairs: list[tuple[int, int, float]] = list(graph.edges(data="interaction"))
    largest = max((abs(value) for *_, value in pairs), default=1.0)
    for _, colour, style, sign in LOOKS:
        chosen = [(a, b, value) for a, b, value in pairs if sign * value > 0]
        nx.draw_networkx_edges(
            graph, place, edgelist=[(a, b) for a, b, _ in chosen], ax=ax, edge_color=colour,
            style=style, width=[0.4 + 2.2 * abs(value) / largest for *_, value in chosen],
            node_size=size,
        )  # fmt: skip


def strongest(frame: pd.DataFrame, score: Score = "loss") -> nx.Graph[int]:
    """The units, joined where their interaction is among the strongest found; edges carry ``interaction``."""
    prefix = _prefix(score)
    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(sorted(_stages(frame)))
    found = frame.loc[frame[f"{prefix}p_fdr"] < LEVEL]
    order = found[f"{prefix}interaction"].abs().sort_values(ascending=False, kind="stable").index
    for row in found.loc[order].head(round(LINES_PER_UNIT * len(graph))).to_dict("records"):
        graph.add_edge(row["unit_a"], row["unit_b"], interaction=row[f"{prefix}interaction"])
    return graph


def interactions(
    frame: pd.DataFrame,
    *,
    score: Score = "loss",
    width: float = FULL,
    panel: str | None = None,
) -> Figure:
    """The figure of ``interactions.csv``: the map of all pairs, beside the network of the strongest."""
    drawn = [partial(draw, frame, score=score), partial(draw_network, frame, score=score)]
    height = min(width, 0.58 * FULL)
    return panelled(drawn, "interactions", width=width, panel=panel, height=height)[0]


def _prefix(score: Score) -> str:
    return "" if score == "loss" else f"{score}_"


def _stages(frame: pd.DataFrame) -> dict[int, int]:
    """The stage of each unit."""
    ends = (
        zip(frame[f"unit_{end}"].tolist(), frame[f"stage_{end}"].tolist(), strict=True)
        for end in "ab"
    )
    return {int(unit): int(stage) for pairs in ends for unit, stage in pairs}


def _known(value: float | None) -> bool:
    """Whether there is a number: the manifest has ``None`` for what is NaN in the table."""
    return value is not None and np.isfinite(value)


TITLE = "Interactions of two units"
HOW_TO_READ = (
    "Damage to the loss of deleting two units together, less the damage of each alone; dots are pairs found "
    "by a sign-flip test over examples at a false-discovery rate of 5 %, the network has the strongest of "
    "them, units shaded by stage. Conclude from a pale map that damages add; from orange (above 0), that "
    "two units stand in for each other; from purple (below 0), that they need each other, or that the "
    "damage cannot grow further."
)


def headlines(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """How far damages add up, how many pairs interact, and the strongest of either sign."""
    rows: list[tuple[str, str]] = []
    for score, share in (frame.attrs.get("explained") or {}).items():
        if _known(share["mean"]):
            rows.append(
                (
                    f"variance of pairs that single damages explain, {score}",
                    f"{100 * share['mean']:.1f} %"
                    + (
                        f"  (95 %: {100 * share['low']:.1f} to {100 * share['high']:.1f})"
                        if _known(share["low"])
                        else ""
                    )
                    + (
                        f"; pairs without {share['largest']}: {100 * share['others']:.1f} %"
                        if _known(share["others"])
                        else ""
                    ),
                )
            )
    value, found = frame["interaction"].to_numpy(float), frame["p_fdr"].to_numpy(float) < LEVEL
    rows.append(
        (
            "pairs that interact in the loss (FDR, 5 %)",
            f"{found.sum()} of {len(frame)}: {(found & (value > 0)).sum()} redundant, "
            f"{(found & (value < 0)).sum()} synergistic",
        )
    )
    for label, at in (("redundant", int(value.argmax())), ("synergistic", int(value.argmin()))):
        row = frame.iloc[at]
        if value[at] * (1 if label == "redundant" else -1) > 0:
            rows.append(
                (
                    f"most {label}: {row['unit_a']} ({row['name_a']}) and {row['unit_b']} "
                    f"({row['name_b']})",
                    f"{value[at]:+.3g} nats  (95 %: {row['interaction_low']:+.3g} to "
                    f"{row['interaction_high']:+.3g})",
                )
            )
    near = frame["distance"].to_numpy() == 1
    for label, chosen in (("neighbours", near), ("others", ~near)):
        if chosen.any():
            rows.append((f"mean size, {label}", f"{np.abs(value[chosen]).mean():.3g} nats"))
    return rows


def findings(frame: pd.DataFrame) -> list[Finding]:
    """How many pairs of units depend on each other, and the pair that does most."""
    found = frame["p_fdr"].to_numpy(float) < LEVEL
    row = frame.loc[frame["interaction"].abs().idxmax()]
    kind = "stand in for" if row["interaction"] > 0 else "are of little use without"
    return [
        Finding(
            f"{found.sum()} of {len(frame)} pairs of units depend on each other. Units {row['unit_a']} and "
            f"{row['unit_b']} do most: they {kind} each other, by {abs(row['interaction']):.3g} nats of loss.",
            f"95 %: {row['interaction_low']:+.3g} to {row['interaction_high']:+.3g} nats; sign-flip tests, "
            f"false discoveries held to 5 %; {examples(frame)}",
        )
    ]
