"""A table of numbers by two whole-number indices as a map of colours, the rows upwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_MOST_TICKS = 8


def heat_map(
    table: pd.DataFrame, ax: Axes, *, label: str, colours: str = "mako_r", above: bool = False
) -> Axes:
    """Draw a map whose darkest cell is the largest; zero is the lightest.

    Where values are negative by more than 2 % of the largest, two colours part the signs, and zero is white.
    Cells without a number stay empty.

    Parameters
    ----------
    table : values by row and column; both indices are named at round steps.
    label : of the colours' scale.
    colours : seaborn's name of the colours of what has one sign.
    above : a small scale above the map instead of one beside it, for small panels.
    """
    import seaborn as sns

    values = table.to_numpy(float)
    # An unbiased estimate of nothing is a little below 0, and one such cell is no second sign. `x == x` leaves
    # NaN out.
    known = values[values == values]  # of no known cell there is no largest
    signed = bool(known.min(initial=0) < -0.02 * known.max(initial=0))
    place = ax.inset_axes((0.5, 1.06, 0.5, 0.06)) if above else None
    sns.heatmap(
        table, ax=ax, cmap="PuOr" if signed else colours, center=0 if signed else None,
        vmin=None if signed else 0, rasterized=True, linewidth=0, cbar_ax=place,
        cbar_kws={"orientation": "horizontal"} if above else {"pad": 0.02, "label": label},
        xticklabels=_step(table.shape[1]), yticklabels=_step(table.shape[0]),
    )  # fmt: skip
    ax.invert_yaxis()
    ax.tick_params(length=0, labelrotation=0)
    if place is not None:
        place.tick_params(labelsize=6, length=1.5, pad=1, top=True, bottom=False, labeltop=True,
                          labelbottom=False)  # fmt: skip
        ax.text(0.47, 1.09, label, transform=ax.transAxes, fontsize=6, ha="right", va="center")
    return ax


def _step(size: int) -> int:
    """The smallest round step at which no more ticks are named than fit."""
    return next(
        step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, size) if size <= step * _MOST_TICKS
    )
