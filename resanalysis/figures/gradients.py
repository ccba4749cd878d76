"""Path lengths, gradient by path length, and what each length contributes (Veit et al. 2016, Figure 6)."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from resanalysis.figures.style import (
    BLUE,
    FULL,
    GREEN,
    ORANGE,
    RC,
    legend_above,
    new_figure,
    whole_numbers,
)
from resanalysis.statistics.path_length import central_interval

Floats = NDArray[np.float64]
_RC: dict[Any, Any] = {**RC, "legend.handlelength": 1.2}


def _column(frame: pd.DataFrame, name: str) -> Floats:
    return np.array([float(value) for value in frame[name]])


def _measured(frame: pd.DataFrame, name: str) -> bool:
    return bool(np.isfinite(_column(frame, name)).any())


def draw(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Size of a path's gradient against its length, on a log axis (Figure 6b).

    Needs ``length``, ``count``, and of ``mean_norm``, ``rms_norm`` (with ``_low``, ``_high``) and
    ``sum_norm`` what was measured; the last is divided by the count. Conclude from a straight line that
    each unit entered shrinks the gradient by the same factor. Where the mean lies well below the root
    mean square, few paths carry most; how far the exact sum lies below both says how much of the paths'
    gradients cancels.
    """
    if ax is None:
        ax = new_figure()[1][0]
    length, count = _column(frame, "length"), _column(frame, "count")
    curves = (
        ("mean_norm", "mean (sampled)", ORANGE, "o"),
        ("rms_norm", "RMS (random signs)", GREEN, "s"),
    )
    with mpl.rc_context(_RC):
        for name, label, colour, marker in curves:
            if _measured(frame, name):
                low, high = (_column(frame, f"{name}_{end}") for end in ("low", "high"))
                ax.fill_between(length, low, high, color=colour, alpha=0.3, linewidth=0)
                ax.plot(length, _column(frame, name), color=colour, marker=marker,
                        markersize=2, label=label)  # fmt: skip
        if _measured(frame, "sum_norm"):
            ax.plot(length, _column(frame, "sum_norm") / count, color=BLUE, linestyle="--",
                    label="‖sum‖ / count (exact)")  # fmt: skip
        ax.set_yscale("log")
        _label_length(ax, length)
        ax.set_ylabel("Gradient norm of a path\n(nats per unit of input)")
        legend_above(ax)
    return ax


def draw_counts(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Number of paths of each length (Figure 6a). Needs ``length`` and ``count``."""
    if ax is None:
        ax = new_figure()[1][0]
    length, count = _column(frame, "length"), _column(frame, "count")
    with mpl.rc_context(_RC):
        inside = np.zeros(len(length), dtype=bool)
        label = None
        if length.max() == count[min(1, len(count) - 1)]:  # all lengths: there are n of length 1
            low, high = central_interval(list(count / count.sum()))
            inside = (length >= low) & (length <= high)
            label = f"95 %: {low} to {high}"
        exponent = int(np.log10(count.max()))
        height = count / 10.0**exponent
        ax.bar(length[~inside], height[~inside], width=0.9, color="0.7", linewidth=0)
        ax.bar(length[inside], height[inside], width=0.9, color="0.35", linewidth=0,
               label=label)  # fmt: skip
        _label_length(ax, length)
        ax.set_ylabel("Number of paths" + f" ($10^{{{exponent}}}$)" * (exponent > 0))
        if label is not None:
            legend_above(ax)
    return ax


def draw_totals(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Share of the gradient on paths of each length: the paper's bound and the exact sum (Figure 6c).

    Needs ``length`` and ``signed_share`` (with ``_low``, ``_high``) or ``upper_share``. Each is shaded
    over its effective lengths, the shortest run with 95 % of it. Conclude that paths outside of it
    contribute next to nothing; that the bound lies at longer paths than the sum says that these cancel.
    """
    if ax is None:
        ax = new_figure()[1][0]
    length = _column(frame, "length")
    with mpl.rc_context(_RC):
        if _measured(frame, "upper_share"):
            share = _column(frame, "upper_share")
            scale = share / np.where(share > 0, _column(frame, "mean_norm"), 1)
            low, high = (scale * _column(frame, f"mean_norm_{end}") for end in ("low", "high"))
            _draw_share(ax, length, share, low, high, "count × mean", ORANGE, "o")
        if _measured(frame, "signed_share"):
            low, high = (_column(frame, f"signed_share_{end}") for end in ("low", "high"))
            _draw_share(
                ax, length, _column(frame, "signed_share"), low, high, "exact sum", BLUE, "s"
            )
        ax.axhline(0, color="0.6", linewidth=0.6, zorder=0)
        _label_length(ax, length)
        ax.set_ylabel("Share of the total\n(95 % shaded)")
        legend_above(ax)
    return ax


def _draw_share(
    ax: Axes, length: Floats, share: Floats, low: Floats, high: Floats, name: str, colour: str, marker: str
) -> None:  # fmt: skip
    if abs(share.sum() - 1) < 1e-3:  # else paths were followed up to a length that leaves some out
        first, last = central_interval(list(np.abs(share)))
        inside = (length >= first) & (length <= last)
        ax.fill_between(length[inside], 0, share[inside], color=colour, alpha=0.18, linewidth=0)
        name = f"{name}: {first} to {last}"
    ax.vlines(length, low, high, color=colour, linewidth=0.8)
    ax.plot(length, share, color=colour, marker=marker, markersize=2,
            label=name)  # fmt: skip


def _label_length(ax: Axes, length: Floats) -> None:
    ax.set_xlabel("Path length (units)")
    ax.set_xlim(length.min() - 0.7, length.max() + 0.7)
    whole_numbers(ax.xaxis)


def gradients(frame: pd.DataFrame, *, width: float = FULL) -> Figure:
    """The figure of ``gradients.csv``: how many paths, how large on each the gradient, what they add up to."""
    figure, axes = new_figure(width, 2.3, panels=3)
    for letter, panel, ax in zip("abc", (draw_counts, draw, draw_totals), axes, strict=True):
        panel(frame, ax)
        with mpl.rc_context(_RC):
            ax.annotate(letter, (0, 1), (-28, 5), "axes fraction", "offset points", weight="bold")
    return figure
