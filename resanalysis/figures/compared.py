"""Several models in one figure, or the training seeds of one network and their mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from resanalysis.figures.legends import shared_legend
from resanalysis.figures.recalibrated import NAME
from resanalysis.figures.style import (
    BLUE,
    FULL,
    GREEN,
    GREY,
    INTACT,
    NEAR_CHANCE,
    ORANGE,
    PURPLE,
    RC,
    RED,
    YELLOW,
    legend_above,
    metric_label,
    one_axes,
    panelled,
    whole_numbers,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXES = {
    "unit": "Unit (from 0)",
    "removed": "Units deleted together",
    "kendall_tau": "Kendall's τ of the order",
    "length": "Path length (units)",
}
VALUES = {"signed_share": "Share of the gradient", "influence": "Influence, 1 − cos"}
_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, YELLOW, RED, GREY)
_MARKERS = ("o", "s", "^", "D", "v")


def _look(number: int) -> tuple[str, str]:
    """Colour and marker of a model: seven and five, so that the first pair is back with the 36th model."""
    return _COLOURS[number % len(_COLOURS)], _MARKERS[number % len(_MARKERS)]


def draw(
    frame: pd.DataFrame,
    ax: Axes | None = None,
    *,
    x: str,
    y: str,
    pool: pd.DataFrame | None = None,
    again: pd.DataFrame | None = None,
    chance: float | None = None,
) -> Axes:
    """A line per model with its interval; with ``pool``, each model thin and their mean with its band.

    Parameters
    ----------
    frame : of ``statistics.pooling.curves``; places below 0 of ``x`` (the intact network) become lines across,
        and places without a value crosses below, at which the line breaks: layers that cannot be deleted.
    pool : of ``statistics.pooling.pooled``.
    again : as ``frame``, or where there is a ``pool`` as this, with batch-norm statistics estimated anew:
        hollow marks on dotted lines.
    chance : value of a network that guesses, drawn where a curve comes near it.

    Conclude from curves whose bands part that the networks differ on these examples; from the band of ``pool``,
    what another training run of the same network would show.
    """
    if ax is None:
        ax = one_axes()
    with mpl.rc_context(RC):
        for number, (model, rows) in enumerate(frame.groupby("model", sort=False)):
            colour, marker = _look(number)
            _line(
                ax,
                rows,
                x,
                y,
                str(model),
                "0.7" if pool is not None else colour,
                marker,
                pool is None,
            )
            if pool is None:
                _without_value(ax, rows, x, y, colour)
        if pool is not None:
            seeds = int(pool["seeds"].to_numpy().max())
            _line(
                ax,
                pool,
                x,
                y,
                f"mean of {seeds} training runs (band: 95 % between runs)",
                BLUE,
                "o",
                True,
            )
        if again is not None:
            _hollow(ax, again, x, y, pooled=pool is not None)
        if chance is not None and np.nanmax(frame[y].to_numpy(float)) >= NEAR_CHANCE * chance:
            ax.axhline(chance, color=INTACT, linewidth=0.8, linestyle=":", label="chance")
        ax.set_xlabel(AXES.get(x, x))
        ax.set_ylabel(VALUES.get(y, metric_label(y)))
        if y == "error":
            ax.set_ylim(bottom=0)
        if x != "kendall_tau":
            whole_numbers(ax.xaxis)
        legend_above(ax)
    return ax


def _line(
    ax: Axes, rows: pd.DataFrame, x: str, y: str, label: str, colour: str, marker: str, banded: bool
) -> None:
    altered = rows.loc[rows[x] >= 0] if x == "unit" else rows
    place, value = altered[x].to_numpy(float), altered[y].to_numpy(float)
    ax.plot(place, value, color=colour, marker=marker if banded else "", label=label if banded else None,
            linewidth=1.0 if banded else 0.6, markersize=2.8)  # fmt: skip
    low, high = f"{y}_low", f"{y}_high"
    if banded and low in altered:
        ends = altered[[low, high]].to_numpy(float)
        if x == "unit":  # a place of its own each: a band would say something of what lies between
            bars = np.maximum(0, np.stack([value - ends[:, 0], ends[:, 1] - value]))
            ax.errorbar(place, value, yerr=bars, fmt="none", ecolor=colour, elinewidth=0.7)
        else:
            ax.fill_between(place, ends[:, 0], ends[:, 1], color=colour, alpha=0.2, linewidth=0)
    for intact in rows.loc[rows[x] < 0, y] if x == "unit" and banded else ():
        ax.axhline(float(intact), color=colour, linewidth=0.8, linestyle="--")


def _hollow(ax: Axes, again: pd.DataFrame, x: str, y: str, *, pooled: bool) -> None:
    """What statistics estimated anew leave, in the colours of the models, a little beside the others."""
    groups = [("", again)] if pooled else again.groupby("model", sort=False)
    for number, (_, rows) in enumerate(groups):
        colour, marker = _look(number)
        altered = rows.loc[rows[x] >= 0] if x == "unit" else rows
        value = altered[y].to_numpy(float)
        ends = altered[[f"{y}_low", f"{y}_high"]].to_numpy(float)
        bars = np.maximum(0, np.stack([value - ends[:, 0], ends[:, 1] - value]))
        shift = 0.0 if x == "kendall_tau" else 0.25
        ax.errorbar(altered[x].to_numpy(float) + shift, value, yerr=bars, color=colour, marker=marker,
                    linestyle=":", linewidth=0.8, elinewidth=0.5, markersize=2.8, markerfacecolor="white",
                    markeredgewidth=0.6)  # fmt: skip
        for intact in rows.loc[rows[x] < 0, y] if x == "unit" else ():
            ax.axhline(float(intact), color=colour, linewidth=0.8, linestyle=":")
    ax.margins(x=0.06)  # for what is beside the last
    ax.plot([], [], color="0.4", marker="o", linestyle=":", linewidth=0.8, markersize=2.8,
            markerfacecolor="white", markeredgewidth=0.6, label=f"hollow: {NAME}")  # fmt: skip


def _without_value(ax: Axes, rows: pd.DataFrame, x: str, y: str, colour: str) -> None:
    """Crosses along the axis where nothing was measured."""
    missing = rows.loc[rows[y].isna(), x].to_numpy(float)
    if len(missing):
        ax.plot(missing, np.full(len(missing), 0.025), "x", color=colour, markersize=3.5,
                transform=ax.get_xaxis_transform(), label="cannot be deleted alone")  # fmt: skip


def compared(
    frame: pd.DataFrame,
    *,
    x: str,
    y: str,
    pool: pd.DataFrame | None = None,
    again: pd.DataFrame | None = None,
    chance: float | None = None,
    width: float = FULL,
    panel: str | None = None,
) -> Figure:
    """The figure of a table with several models."""

    def drawn(ax: Axes) -> Axes:
        return draw(frame, ax, x=x, y=y, pool=pool, again=again, chance=chance)

    figure, axes = panelled([drawn], "compared", width=width, panel=panel, height=2.6)
    shared_legend(figure, axes)  # names of models may be long
    return figure
