"""What is left of a network whose middle is rearranged (Sun et al. 2024)."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
    legend_above,
    new_figure,
    panel_letter,
    whole_numbers,
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
# Intervals of a score whose yardstick is short can be huge; the axis follows the scores.
_ROOM = 0.3


def draw(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The normalised score against the number of units in the middle, one line a kind.

    Needs ``kind``, ``size`` (or ``touched``), ``score``, ``score_low`` and ``score_high``. Bars are the
    intervals over examples; of ``shuffle`` the line is the mean of its orders and the band their range.
    Intact is 1, chance is 0. Conclude from lines that stay high that the middle units share one
    representation; from ``shuffle`` above ``skip`` that they matter more than their order; from a
    ``repeat`` that falls to chance that they do not all do the same.
    """
    if ax is None:
        ax = new_figure()[1][0]
    there = set(frame["kind"])
    kinds = [kind for kind in _LOOKS if kind in there]
    by = (
        "size" if "size" in frame else "touched"
    )  # orders of one middle move more or fewer of its units
    with mpl.rc_context(RC):
        _levels(ax, frame.loc[frame["kind"] != "swap"])
        for place, kind in enumerate(kinds):
            rows = frame.loc[frame["kind"] == kind]
            sizes = np.unique(rows[by].to_numpy(int))
            colour, marker, dashes = _LOOKS[kind]
            look: dict[str, Any] = {
                "color": colour, "marker": marker, "linestyle": dashes, "markersize": 3.2,
                "markeredgewidth": 0.0,
            }  # fmt: skip
            if kind == "shuffle":
                orders = [rows.loc[rows[by] == size, "score"].to_numpy() for size in sizes]
                low, high = [o.min() for o in orders], [o.max() for o in orders]
                ax.fill_between(sizes, low, high, color=colour, alpha=0.18, linewidth=0)
                most = max(len(scores) for scores in orders)
                name = f"shuffle (mean, range of {most})" if most > 1 else "shuffle"
                ax.plot(sizes, [o.mean() for o in orders], label=name, **look)
                continue
            # Side by side, so that the bars of lines that meet can be told apart.
            step = np.diff(sizes).min() if len(sizes) > 1 else 1
            at = sizes + (place - (len(kinds) - 1) / 2) * 0.04 * step
            _with_bars(ax, at, rows.sort_values(by), label=kind, **look)
        ax.set_xlabel("Units in the middle" if by == "size" else "Units touched")
        ax.set_ylabel("Normalised score")
        whole_numbers(ax.xaxis)
        legend_above(ax)
    return ax


def draw_swaps(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The normalised score with each unit and the next exchanged, against the first of the two.

    Needs ``kind``, ``units``, ``score``, ``score_low`` and ``score_high``. Units that may not move leave
    gaps. Conclude from a point far below 1 that these two must run in this order.
    """
    if ax is None:
        ax = new_figure()[1][0]
    rows = frame.loc[frame["kind"] == "swap"]
    first = np.array([int(str(units).split()[0]) for units in rows["units"]])
    with mpl.rc_context(RC):
        _levels(ax, rows)
        # A line over a gap would say that there is something to swap.
        for run in np.split(np.arange(len(first)), np.flatnonzero(np.diff(first) > 1) + 1):
            _with_bars(ax, first[run], rows.iloc[run], color=INTACT, marker="o", markersize=2.8,
                       linestyle="-", linewidth=0.7)  # fmt: skip
        ax.set_xlabel("First unit of the swapped pair")
        ax.set_ylabel("Normalised score")
        whole_numbers(ax.xaxis)
        legend_above(ax)
    return ax


def _with_bars(ax: Axes, at: Any, rows: pd.DataFrame, **look: Any) -> None:
    score = rows["score"].to_numpy(float)
    ends = np.array([score - rows["score_low"], rows["score_high"] - score], dtype=float)
    ax.errorbar(at, score, yerr=ends.clip(min=0), elinewidth=0.7, **look)


def _levels(ax: Axes, rows: pd.DataFrame) -> None:
    """Lines for intact and chance, and room for the scores around them."""
    ax.axhline(1, color=INTACT, linestyle="--", linewidth=0.8, label="intact")
    ax.axhline(0, color=INTACT, linestyle=":", linewidth=0.8, label="chance")
    score = rows["score"].to_numpy(float)
    lowest, highest = min(0.0, float(score.min())), max(1.0, float(score.max()))
    low = np.nanmin([lowest, *rows["score_low"]])
    high = np.nanmax([highest, *rows["score_high"]])
    ax.set_ylim(max(low, lowest - _ROOM) - 0.04, min(high, highest + _ROOM) + 0.04)


def rearrange(frame: pd.DataFrame, *, width: float = FULL) -> Figure:
    """The figure of ``rearrange.csv``: kinds by size beside the swaps by place, where both are there."""
    kinds = set(frame["kind"])
    panels = [
        panel
        for panel, there in ((draw, kinds & set(_LOOKS)), (draw_swaps, "swap" in kinds))
        if there
    ]
    figure, axes = new_figure(width, 2.5 if width < 0.7 * FULL else 2.7, panels=len(panels))
    for panel, ax in zip(panels, axes, strict=True):
        panel(frame, ax)
    _share(figure, axes, columns=4 if width > 0.7 * FULL else 2)
    return figure


def _share(figure: Figure, axes: list[Axes], columns: int) -> None:
    """One scale and one legend for the panels there are."""
    ends = np.array([ax.get_ylim() for ax in axes])
    entries = dict(zip(*axes[0].get_legend_handles_labels()[::-1], strict=True))
    order = ["intact", "chance", *_LOOKS]
    names = sorted(entries, key=lambda name: order.index(name.split()[0]))
    with mpl.rc_context(RC):
        for letter, ax in zip("ab", axes, strict=False):
            legend = ax.get_legend()
            if legend is not None:
                legend.remove()
            ax.set_ylim(ends[:, 0].min(), ends[:, 1].max())
            if len(axes) > 1:
                panel_letter(ax, letter)
        figure.legend(
            [entries[name] for name in names], names, loc="outside upper left", ncols=columns,
            handlelength=2.6, columnspacing=1.0, handletextpad=0.4,
        )  # fmt: skip
