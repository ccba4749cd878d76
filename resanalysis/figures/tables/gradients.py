"""Path lengths, gradient by path length, and what each length contributes (Veit et al. 2016, Figure 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from resanalysis.figures.style import (
    BLUE,
    FULL,
    GREEN,
    ORANGE,
    RC,
    legend_above,
    one_axes,
    panelled,
    whole_numbers,
)
from resanalysis.figures.words import Finding, Headlines, column, examples
from resanalysis.statistics.path_length import central_interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Which path lengths carry the gradient"
HOW_TO_READ = (
    "How many paths there are of each length, how large the gradient is on one, and what share of the "
    "whole gradient each length contributes. Conclude from shares at lengths far below the middle that "
    "short paths carry the gradient. All bands and bars are 95 % intervals: of the mean norm over the "
    "paths drawn, of the root mean square over repeated draws of signs, of the exact share over images."
)

Floats = NDArray[np.float64]
_RC: dict[Any, Any] = {**RC, "legend.handlelength": 1.2}


def _measured(frame: pd.DataFrame, name: str) -> bool:
    return bool(np.isfinite(column(frame, name)).any())


@mpl.rc_context(_RC)
def draw(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Size of the gradient on one path against its length, on a log axis (Figure 6b).

    Needs ``length``, ``count``, and of ``mean_norm``, ``rms_norm`` (with ``_low``, ``_high``) and
    ``sum_norm`` what was measured; the last is divided by the count, and is no path's norm: what cancels in
    the sum is missing from it. Conclude from a straight line that each unit entered shrinks the gradient by
    the same factor. Where the mean lies well below the root mean square, few paths carry most; how far the
    exact sum lies below both says how much of the paths' gradients cancels.
    """
    ax = ax or one_axes()
    length, count = column(frame, "length"), column(frame, "count")
    curves = (
        ("mean_norm", "mean (band: over paths)", ORANGE, "o"),
        ("rms_norm", "RMS (band: over signs)", GREEN, "s"),
    )
    single = [curve for curve in curves if _measured(frame, curve[0])]
    for name, label, colour, marker in single:
        low, high = (column(frame, f"{name}_{end}") for end in ("low", "high"))
        ax.fill_between(length, low, high, color=colour, alpha=0.3, linewidth=0)
        ax.plot(length, column(frame, name), color=colour, marker=marker, markersize=2, label=label)
    if _measured(frame, "sum_norm"):
        ax.plot(length, column(frame, "sum_norm") / count, color=BLUE, linestyle="--",
                label="‖exact sum‖ / count")  # fmt: skip
    ax.set_yscale("log")
    _label_length(ax, length)
    what = "Gradient norm" if single else "Norm of sum / count"
    of = "stream" if frame.attrs.get("at") == "first-unit" else "input"
    ax.set_ylabel(f"{what}\n(nats per unit of {of})")
    legend_above(ax, left=-0.15)
    return ax


@mpl.rc_context(_RC)
def draw_counts(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Number of paths of each length (Figure 6a). Needs ``length`` and ``count``."""
    ax = ax or one_axes()
    length, count = column(frame, "length"), column(frame, "count")
    inside = np.zeros(len(length), dtype=bool)
    label = None
    if length.max() == count[min(1, len(count) - 1)]:  # all lengths: there are n of length 1
        low, high = central_interval(list(count / count.sum()))
        inside = (length >= low) & (length <= high)
        label = f"95 %: {low}–{high}"
    exponent = int(np.log10(count.max()))
    height = count / 10.0**exponent
    ax.bar(length[~inside], height[~inside], width=0.9, color="0.7", linewidth=0)
    ax.bar(length[inside], height[inside], width=0.9, color="0.35", linewidth=0, label=label)
    _label_length(ax, length)
    ax.set_ylabel("Number of paths" + f" ($10^{{{exponent}}}$)" * (exponent > 0))
    if label is not None:
        legend_above(ax, left=-0.15)
    return ax


@mpl.rc_context(_RC)
def draw_totals(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Share of the gradient on paths of each length: the paper's bound and the exact sum (Figure 6c).

    Needs ``length`` and ``signed_share`` (with ``_low``, ``_high``) or ``upper_share``. Each is shaded
    over its effective lengths, the shortest run with 95 % of it. Conclude that paths outside of it
    contribute next to nothing; that the bound lies at longer paths than the sum says that these cancel.
    """
    ax = ax or one_axes()
    length = column(frame, "length")
    if _measured(frame, "upper_share"):
        share = column(frame, "upper_share")
        scale = share / np.where(share > 0, column(frame, "mean_norm"), 1)
        low, high = (scale * column(frame, f"mean_norm_{end}") for end in ("low", "high"))
        _draw_share(ax, length, share, low, high, "count × mean", ORANGE, "o")
    if _measured(frame, "signed_share"):
        low, high = (column(frame, f"signed_share_{end}") for end in ("low", "high"))
        _draw_share(ax, length, column(frame, "signed_share"), low, high, "exact sum", BLUE, "s")
    ax.axhline(0, color="0.6", linewidth=0.6, zorder=0)
    _label_length(ax, length)
    ax.set_ylabel("Share of the total\n(95 % shaded)")
    legend_above(ax, left=-0.15)
    return ax


def _draw_share(
    ax: Axes, length: Floats, share: Floats, low: Floats, high: Floats, name: str, colour: str, marker: str
) -> None:  # fmt: skip
    if abs(share.sum() - 1) < 1e-3:  # else paths were followed up to a length that leaves some out
        first, last = central_interval(list(np.abs(share)))
        inside = (length >= first) & (length <= last)
        ax.fill_between(length[inside], 0, share[inside], color=colour, alpha=0.18, linewidth=0)
        name = f"{name}: {first}–{last}"
    ax.vlines(length, low, high, color=colour, linewidth=0.8)
    ax.plot(length, share, color=colour, marker=marker, markersize=2, label=name)


def _label_length(ax: Axes, length: Floats) -> None:
    ax.set_xlabel("Path length (units)")
    ax.set_xlim(length.min() - 0.7, length.max() + 0.7)
    whole_numbers(ax.xaxis)


def gradients(frame: pd.DataFrame, *, width: float = FULL, panel: str | None = None) -> Figure:
    """The figure of ``gradients.csv``.

    Parameters
    ----------
    panel : ``a``, how many paths there are; ``b``, the gradient on one; ``c``, what they add up to.
    """
    drawn = [lambda ax, one=one: one(frame, ax) for one in (draw_counts, draw, draw_totals)]
    return panelled(drawn, "gradients", width=width, panel=panel, height=2.3)[0]


def headlines(frame: pd.DataFrame) -> Headlines:
    """Effective and mean lengths, the factor that each unit puts on the norm, and what is uncertain.

    Reads the facts that ``gradients`` leaves in ``attrs``.
    """
    facts = frame.attrs
    rows: Headlines = []
    for name, label in (("exact", "exact sum"), ("upper", "count × mean norm")):
        if f"effective_{name}" in facts:
            low, high = facts[f"effective_{name}"]
            rows.append((f"effective lengths, {label}", f"{low} to {high} units hold 95 %"))
            rows.append(
                (
                    f"mean length, {label}",
                    f"{facts[f'mean_length_{name}']:.2f} units, peak at {facts[f'peak_{name}']}",
                )
            )
    for name, label in (("mean", "mean norm"), ("rms", "root mean square")):
        if f"decay_{name}" in facts:
            factor, low, high = facts[f"decay_{name}"]
            rows.append(
                (f"{label} per unit entered", f"× {factor:.3f} (95 %: {low:.3f} to {high:.3f})")
            )
    uncertain = facts.get("uncertain_lengths") or []
    if uncertain:
        rows.append(
            ("lengths whose mean is uncertain", " ".join(str(length) for length in uncertain))
        )
    return rows or [("lengths", str(len(frame)))]


def findings(frame: pd.DataFrame) -> list[Finding]:
    """The lengths that carry the gradient, beside those that most paths have."""
    facts = frame.attrs
    for name, how in (
        ("exact", "summed exactly over all paths"),
        ("upper", "by count × mean norm"),
    ):
        if f"effective_{name}" not in facts:
            continue
        low, high = facts[f"effective_{name}"]
        count = column(frame, "count")
        first, last = central_interval(list(count / count.sum()))
        decay = facts.get("decay_mean") or facts.get("decay_rms")
        evidence = f"{how}; {examples(frame)}"
        if decay:
            evidence = (
                f"each unit entered multiplies the norm by {decay[0]:.3f} "
                f"(95 %: {decay[1]:.3f} to {decay[2]:.3f}); {evidence}"
            )
        return [
            Finding(
                f"Paths of {low} to {high} units hold 95 % of the gradient, their mean length is "
                f"{facts[f'mean_length_{name}']:.1f}; 95 % of all paths are {first} to {last} units long.",
                evidence,
            )
        ]
    return []
