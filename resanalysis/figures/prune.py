"""Error against units removed, by the order in which they go, and the speed that buys."""

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
    GREY,
    INTACT,
    ORANGE,
    PINK,
    PURPLE,
    RC,
    RED,
    YELLOW,
    legend_above,
    measured,
    metric_label,
    new_figure,
    panel_letter,
    whole_numbers,
)

# Colour and dashes of each order, so that one of the two is enough to tell them apart.
_LOOKS: dict[str, tuple[str, Any]] = {
    "greedy": (BLUE, "-"),
    "lesion": (ORANGE, (0, (5, 1.2))),
    "influence": (GREEN, (0, (1, 1))),
    "ratio": (RED, (0, (4, 1, 1, 1))),
    "branch_norm": (PURPLE, (0, (2, 1))),
    "cosine": (BROWN, (0, (6, 1, 1, 1, 1, 1))),
    "gradient_cosine": (PINK, (0, (3, 2))),
    "gate": (YELLOW, (0, (1, 2))),
    "bn_scale": (YELLOW, (0, (5, 2))),
    "scale": (PINK, (0, (1, 1.5))),
}


def draw(frame: pd.DataFrame, ax: Axes | None = None, *, metric: str | None = None) -> Axes:
    """The error against the number of units removed, one line an order.

    Needs ``order``, ``draw``, ``removed`` and the metric; with ``METRIC_low`` and ``METRIC_high`` the greedy
    order has its intervals over examples. Of ``random`` the line is the median of the draws and the band
    their range. Conclude from the distance between a cheap order and ``greedy`` what measuring every
    deletion buys; from a greedy line that stays at the intact one, how many units the task does not need.
    """
    if ax is None:
        ax = new_figure()[1][0]
    metric = measured(frame, metric)
    intact = frame.loc[frame["order"] == "intact"]
    start = float(intact[metric].iloc[0])
    there = set(frame["order"])
    with mpl.rc_context(RC):
        ax.axhline(start, color=INTACT, linestyle="--", linewidth=0.8, label="intact")
        if "random" in there:
            _random(ax, frame.loc[frame["order"] == "random"], metric, start)
        for name in reversed([name for name in _LOOKS if name in there]):
            rows = frame.loc[frame["order"] == name].sort_values("removed")
            colour, dashes = _LOOKS[name]
            at = np.r_[0, rows["removed"].to_numpy(int)]
            bold = name == "greedy"
            ax.plot(
                at, np.r_[start, rows[metric].to_numpy(float)], color=colour, linestyle=dashes,
                linewidth=2.0 if bold else 1.1, label=name.replace("_", " "),
                zorder=4 if bold else 3,
            )  # fmt: skip
            if bold and {f"{metric}_low", f"{metric}_high"} <= set(frame):
                ends = [
                    np.r_[intact[end].to_numpy(float)[:1], rows[end].to_numpy(float)]
                    for end in (f"{metric}_low", f"{metric}_high")
                ]
                ax.fill_between(at, *ends, color=colour, alpha=0.18, linewidth=0, zorder=2)
        ax.set_xlabel("Units removed")
        ax.set_ylabel(metric_label(metric))
        whole_numbers(ax.xaxis)
        ax.set_xlim(0, max(1, int(frame["removed"].to_numpy(int).max())))
        legend_above(ax)
    return ax


def _random(ax: Axes, rows: pd.DataFrame, metric: str, start: float) -> None:
    at = np.unique(rows["removed"].to_numpy(int))
    errors = [rows.loc[rows["removed"] == k, metric].to_numpy(float) for k in at]
    low, middle, high = (
        np.r_[start, [reduced(values) for values in errors]]
        for reduced in (np.min, np.median, np.max)
    )
    at, draws = np.r_[0, at], max(len(values) for values in errors)
    if draws > 1:
        ax.fill_between(at, low, high, color=GREY, alpha=0.25, linewidth=0, zorder=1)
    name = f"random (range of {draws})" if draws > 1 else "random"
    ax.plot(at, middle, color=GREY, linewidth=1.1, label=name, zorder=2)


def draw_speed(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The measured speed-up against the number of units removed, beside the ratio of operations.

    Needs ``order``, ``removed``, ``speedup`` with its ``_low`` and ``_high``, and ``flops_ratio``. Bars are
    intervals of the median over pairs of runs. Conclude from points below the line that what is left costs
    more than its operations say: memory traffic, small layers.
    """
    if ax is None:
        ax = new_figure()[1][0]
    rows = frame.loc[frame["order"].isin(["intact", "greedy"])].sort_values("removed")
    timed = rows.loc[rows["speedup"].notna()]
    speed = timed["speedup"].to_numpy(float)
    ends = np.array([speed - timed["speedup_low"], timed["speedup_high"] - speed], dtype=float)
    with mpl.rc_context(RC):
        ax.axhline(1, color=INTACT, linestyle="--", linewidth=0.8, label="intact")
        ax.plot(
            rows["removed"],
            rows["flops_ratio"],
            color=INTACT,
            linestyle=":",
            linewidth=0.8,
            label="by operations",
        )
        ax.errorbar(
            timed["removed"], speed, yerr=ends.clip(min=0), color=BLUE, marker="o", linestyle="-",
            elinewidth=0.8, capsize=1.5, label="measured",
        )  # fmt: skip
        ax.set_xlabel("Units removed")
        ax.set_ylabel("Speed-up (×)")
        whole_numbers(ax.xaxis)
        ax.set_xlim(0, max(1, int(rows["removed"].to_numpy(int).max())) + 0.3)
        legend_above(ax)
    return ax


def prune(frame: pd.DataFrame, *, metric: str | None = None, width: float = FULL) -> Figure:
    """The figure of ``prune.csv``: error by order, beside the speed-up where it was measured."""
    timed = bool(frame["speedup"].notna().any())
    figure, axes = new_figure(width, 2.5 if width < 0.7 * FULL else 2.9, panels=1 + timed)
    draw(frame, axes[0], metric=metric)
    if timed:
        draw_speed(frame, axes[1])
    entries: dict[str, Any] = {}
    with mpl.rc_context(RC):
        for letter, ax in zip("ab", axes, strict=False):
            for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
                entries.setdefault(str(name), handle)
            legend = ax.get_legend()
            if legend is not None:
                legend.remove()
            if timed:
                panel_letter(ax, letter)
        order = ["intact", *(name.replace("_", " ") for name in _LOOKS), "random"]
        speed = [name for name in ("measured", "by operations") if name in entries]
        names = sorted(
            (name for name in entries if name not in speed),
            key=lambda name: order.index("random" if name.startswith("random") else name),
        )
        names += speed
        figure.legend(
            [entries[name] for name in names], names, loc="outside upper left",
            ncols=4 if width > 0.7 * FULL else 2, handlelength=2.6, columnspacing=1.0,
            handletextpad=0.4,
        )  # fmt: skip
    return figure
