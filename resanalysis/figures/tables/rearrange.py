"""What is left of a network whose middle is rearranged (Sun et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from resanalysis.figures.legends import shared_legend
from resanalysis.figures.recalibrated import NAME, recalibrated
from resanalysis.figures.style import (
    BLUE,
    BROWN,
    FULL,
    GREEN,
    INTACT,
    ORANGE,
    PURPLE,
    RC,
    RED,
    Draw,
    legend_above,
    measured,
    metric_label,
    narrow,
    one_axes,
    panelled,
    whole_numbers,
)
from resanalysis.figures.words import Finding, Headlines, column, counted, examples, percent

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "The middle units rearranged"
HOW_TO_READ = (
    "What is left of the network, from 1 (intact) to 0 (chance), with its middle units deleted, reversed, "
    "shuffled, repeated or run in parallel, by the number of units in the middle; and with neighbours "
    "exchanged. Conclude from lines that stay high that the middle units share one representation. Bars "
    "are 95 % intervals over examples, the band is the range of the random orders. Of detections the mAP "
    "itself is drawn, and the intact network's dashed."
)

# Colour, marker and dashes of each kind, so that one of the three is enough to tell them apart.
_LOOKS: dict[str, tuple[str, str, Any]] = {
    "skip": (ORANGE, "v", (0, (1, 1))),
    "reverse": (GREEN, "^", (0, (4, 1.2))),
    "shuffle": (BLUE, "o", "-"),
    "repeat": (RED, "X", (0, (2, 1))),
    "parallel": (PURPLE, "s", (0, (6, 1.2, 1, 1.2))),
    "looped": (BROWN, "D", (0, (5, 1, 1, 1, 1, 1))),
}
# Where the intact network is little better than chance, intervals can be huge; the axis follows the scores.
_ROOM = 0.3


@mpl.rc_context(RC)
def draw(frame: pd.DataFrame, ax: Axes | None = None, *, metric: str | None = None) -> Axes:
    """The normalised score against the number of units in the middle, one line a kind.

    Needs ``kind``, ``size`` (or ``touched``), ``score``, ``score_low`` and ``score_high``; or a ``metric`` with
    the like, which is what is drawn where there is no score. Bars are the intervals over examples; of
    ``shuffle`` the line is the mean of its orders and the band their range. Intact is 1, chance is 0.
    Conclude from lines that stay high that the middle units share one
    representation; from ``shuffle`` above ``skip`` that they matter more than their order; from a
    ``repeat`` that falls to chance that they do not all do the same.
    """
    ax = ax or one_axes()
    there = set(frame["kind"])
    kinds = [kind for kind in _LOOKS if kind in there]
    by, name = _axis(frame), _drawn(frame, metric)
    _levels(ax, frame, frame["kind"] != "swap", name)
    for place, kind in enumerate(kinds):
        rows = frame.loc[frame["kind"] == kind].sort_values(by, kind="stable")
        colour, marker, dashes = _LOOKS[kind]
        look: dict[str, Any] = {
            "color": colour, "marker": marker, "linestyle": dashes, "markersize": 3.2,
            "markeredgewidth": 0.0,
        }  # fmt: skip
        if kind == "shuffle":
            _orders(ax, rows, by, name, look)
        else:
            # Side by side, so that the bars of lines that meet can be told apart.
            sizes = rows[by].to_numpy(int)
            step = np.diff(sizes).min() if len(sizes) > 1 else 1
            shift = (place - (len(kinds) - 1) / 2) * 0.04 * step
            _with_bars(ax, sizes + shift, rows, name, label=kind, **look)
    ax.set_xlabel("Units in the middle" if by == "size" else "Units touched")
    ax.set_ylabel(_label(name))
    whole_numbers(ax.xaxis)
    legend_above(ax)
    return ax


def _axis(frame: pd.DataFrame) -> str:
    """How large the middle is; orders of one middle move more or fewer of its units."""
    return "size" if "size" in frame else "touched"


def _drawn(frame: pd.DataFrame, metric: str | None) -> str:
    """The column to draw: the one asked for, a user's own, else the score, or what there is without one."""
    scored = "metric" not in frame and not np.isnan(column(frame, "score")).all()
    return "score" if metric == "score" or (metric is None and scored) else measured(frame, metric)


def _label(name: str) -> str:
    return "Normalised score" if name == "score" else metric_label(name)


def _orders(ax: Axes, rows: pd.DataFrame, by: str, name: str, look: dict[str, Any]) -> None:
    """Random orders: the mean at each size, and a band from the least to the largest."""
    found = rows.groupby(by)[name].agg(["mean", "min", "max", "size"])
    sizes = np.asarray(found.index)
    ax.fill_between(sizes, found["min"], found["max"], color=look["color"], alpha=0.18, linewidth=0)
    most = int(np.max(found["size"]))
    label = f"shuffle (mean, range of {most})" if most > 1 else "shuffle"
    ax.plot(sizes, found["mean"], label=label, **look)


@mpl.rc_context(RC)
def draw_swaps(frame: pd.DataFrame, ax: Axes | None = None, *, metric: str | None = None) -> Axes:
    """The normalised score with each unit and the next exchanged, against the first of the two.

    Needs ``kind``, ``units``, ``score``, ``score_low`` and ``score_high``, or a ``metric`` with the like. Units
    that may not move leave gaps. Conclude from a point far below 1 that these two must run in this order.
    """
    ax = ax or one_axes()
    rows = frame.loc[frame["kind"] == "swap"]
    first = np.array([int(str(units).split()[0]) for units in rows["units"]])
    name = _drawn(frame, metric)
    _levels(ax, frame, frame["kind"] == "swap", name)
    # A line over a gap would say that there is something to swap.
    for run in np.split(np.arange(len(first)), np.flatnonzero(np.diff(first) > 1) + 1):
        _with_bars(ax, first[run], rows.iloc[run], name, color=INTACT, marker="o", markersize=2.8,
                   linestyle="-", linewidth=0.7)  # fmt: skip
    ax.set_xlabel("First unit of the swapped pair")
    ax.set_ylabel(_label(name))
    whole_numbers(ax.xaxis)
    legend_above(ax)
    return ax


def _with_bars(ax: Axes, at: Any, rows: pd.DataFrame, name: str, **look: Any) -> None:
    value = rows[name].to_numpy(float)
    bars = None
    if f"{name}_low" in rows:
        ends = np.array([value - rows[f"{name}_low"], rows[f"{name}_high"] - value], dtype=float)
        bars = ends.clip(min=0)
    ax.errorbar(at, value, yerr=bars, elinewidth=0.7, **look)


def _levels(ax: Axes, frame: pd.DataFrame, shown: Any, name: str) -> None:
    """Lines for intact and chance, and room for the values ``shown`` around them."""
    intact = float(frame.loc[frame["kind"] == "intact", name].iloc[0]) if name != "score" else 1.0
    ax.axhline(intact, color=INTACT, linestyle="--", linewidth=0.8, label="intact")
    if name == "score":
        ax.axhline(0, color=INTACT, linestyle=":", linewidth=0.8, label="chance")
    rows = frame.loc[shown]
    values = [intact, *rows[name].to_numpy(float)]
    if not name.startswith("metric"):  # a user's own may be far from 0
        values.append(0.0)
    lowest, highest = float(np.nanmin(values)), float(np.nanmax(values))
    there = [end for end in ("low", "high") if f"{name}_{end}" in frame]
    ends = [value for end in there for value in rows[f"{name}_{end}"]]
    low, high = float(np.nanmin([lowest, *ends])), float(np.nanmax([highest, *ends]))
    scale = 1.0 if name == "score" else (highest - lowest) or 1.0
    room, edge = _ROOM * scale, 0.04 * scale
    ax.set_ylim(max(low, lowest - room) - edge, min(high, highest + room) + edge)


def rearrange(
    frame: pd.DataFrame,
    *,
    metric: str | None = None,
    width: float = FULL,
    panel: str | None = None,
) -> Figure:
    """The figure of ``rearrange.csv``, its panels on one scale.

    Parameters
    ----------
    panel : where both are there, ``a``, the kinds by size; ``b``, the swaps by place; then the same with
        batch-norm statistics estimated anew, where the table has them.
    """
    kinds = set(frame["kind"])
    again = recalibrated(frame)
    name = _drawn(frame, metric)
    drawn: list[Draw] = []
    for table, title in ((frame, "statistics as trained"), (again, NAME)):
        if table is None:
            continue
        named = title if again is not None else None
        if kinds & set(_LOOKS):
            drawn.append(partial(_titled, partial(draw, metric=name), table, named))
        if "swap" in kinds:
            drawn.append(partial(_titled, partial(draw_swaps, metric=name), table, named))
    beside = None if again is None or narrow(width) else len(drawn) // 2
    height = 2.5 if narrow(width) else 2.7
    figure, axes = panelled(
        drawn, "rearrange", width=width, panel=panel, height=height, columns=beside
    )
    ends = np.array([ax.get_ylim() for ax in axes])
    for ax in axes:
        ax.set_ylim(ends[:, 0].min(), ends[:, 1].max())
    order = ["intact", "chance", *_LOOKS]
    shared_legend(
        figure,
        axes,
        order=lambda name: order.index(name.split()[0]),
        columns=2 if narrow(width) else 4,
    )
    return figure


def _titled(
    into: Callable[[pd.DataFrame, Axes], Axes], table: pd.DataFrame, title: str | None, ax: Axes
) -> None:
    into(table, ax)
    if title is not None:
        ax.set_title(title, pad=4, size=8)


def headlines(frame: pd.DataFrame) -> Headlines:
    """Intact error, chance, the score of each kind with half of the units in the middle, and the worst swap."""
    name = _drawn(frame, None)
    rows = _levels_said(frame, name)
    middle = ~frame["kind"].isin(["intact", "swap"]) & (frame[_axis(frame)] > 0)
    rows += _at_half(frame.loc[middle], name)
    swaps = frame.loc[frame["kind"] == "swap"]
    if len(swaps):
        worst = swaps.iloc[int(np.argmin(column(swaps, name)))]
        rows.append((f"worst swap: units {worst['units']}", f"{worst[name]:.3f}"))
    return rows


def _levels_said(frame: pd.DataFrame, name: str) -> Headlines:
    """What the intact network reaches, and what chance does."""
    if name != "score":
        intact = frame.loc[frame["kind"] == "intact", name].iloc[0]
        return [(f"intact: {metric_label(name)}", f"{intact:.4g}")]
    error, chance = (float(frame[level].iloc[0]) for level in ("intact_error", "chance"))
    rows: Headlines = [] if np.isnan(error) else [("intact error", percent(error))]
    return [*rows, ("answers that are right by chance", percent(chance))]


def _at_half(frame: pd.DataFrame, value: str) -> Headlines:
    """The score, or another value, of each kind at the size nearest to half of the largest, the best first."""
    sizes = np.unique(frame[_axis(frame)].to_numpy(int))
    if not len(sizes):
        return []
    half = int(sizes[np.abs(sizes - sizes[-1] / 2).argmin()])
    groups = frame.loc[frame[_axis(frame)] == half].groupby("kind", sort=False)
    where = "in the middle" if _axis(frame) == "size" else "touched"
    rows: Headlines = []
    said = value if value == "score" else metric_label(value)
    for name, part in sorted(groups, key=lambda group: -group[1][value].mean()):
        score = column(part, value)
        if len(part) > 1:
            spread = f"{len(part)} orders: {score.min():.3f} to {score.max():.3f}"
        else:
            row = part.iloc[0]
            spread = f"95 %: {row[f'{value}_low']:.3f} to {row[f'{value}_high']:.3f}"
        rows.append((f"{said}, {name}, {half} units {where}", f"{score.mean():.3f}  ({spread})"))
    return rows


def findings(frame: pd.DataFrame) -> list[Finding]:
    """What is left with half of the units in the middle shuffled, deleted, or run side by side."""
    middle = frame.loc[~frame["kind"].isin(["intact", "swap"]) & (frame[_axis(frame)] > 0)]
    if middle.empty or _drawn(frame, None) != "score":
        return []
    sizes = middle[_axis(frame)].to_numpy(int)
    half = int(sizes[np.abs(sizes - sizes.max() / 2).argmin()])
    scores = middle.loc[sizes == half].groupby("kind")["score"].agg(["mean", "min", "max", "size"])
    wanted = [kind for kind in ("shuffle", "reverse", "parallel", "skip") if kind in scores.index][
        :3
    ]
    ends = (
        middle.loc[sizes == half].groupby("kind")[["score_low", "score_high"]].agg(["min", "max"])
    )
    said = [f"{scores.loc[kind, 'mean']:.2f} {_DONE[kind]}" for kind in wanted]
    known = [
        f"{kind}, {ends.loc[kind, ('score_low', 'min')]:.2f} to {ends.loc[kind, ('score_high', 'max')]:.2f}"
        for kind in wanted
    ]
    return [
        Finding(
            f"With {counted(half, 'middle unit')} rearranged, of a score of 1 there is left: "
            f"{', '.join(said)} (0 is chance).",
            f"95 %: {'; '.join(known)}; over examples and all orders drawn; {examples(frame)}",
        )
    ]


_DONE = {
    "shuffle": "when shuffled",
    "reverse": "when reversed",
    "parallel": "side by side",
    "skip": "when deleted",
}
