"""Error without each unit (Veit et al. 2016, Figure 3)."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resanalysis.figures.style import (
    BLUE,
    FULL,
    INTACT,
    ORANGE,
    RC,
    legend_above,
    measured,
    metric_label,
    new_figure,
    whole_numbers,
)
from resanalysis.figures.words import Headlines, percent


def draw(frame: pd.DataFrame, ax: Axes | None = None, *, metric: str | None = None) -> Axes:
    """One point per deleted unit, the intact network as a line.

    Needs ``unit``, ``transition``, ``stage`` and the metric (the error, or the agreement of data without
    labels); draws intervals from ``METRIC_low`` and ``METRIC_high`` where they are there. Conclude from a
    flat row of points that no single unit is needed; from a peak at the transitions, that the change of
    representation there is.
    """
    if ax is None:
        ax = new_figure()[1][0]
    metric = measured(frame, metric)
    low, high = f"{metric}_low", f"{metric}_high"
    with_intervals = low in frame and high in frame
    intact = frame.loc[frame["unit"] == -1].iloc[0]
    units = frame.loc[(frame["unit"] >= 0) & frame[metric].notna()]
    stages = frame.loc[frame["unit"] >= 0]
    with mpl.rc_context(RC):
        for number, (_, members) in enumerate(stages.groupby("stage", sort=True)):
            if number % 2:
                ax.axvspan(members["unit"].min() - 0.5, members["unit"].max() + 0.5,
                           color="0.95", zorder=0, linewidth=0)  # fmt: skip
        if with_intervals:
            ax.axhspan(intact[low], intact[high], color=INTACT, alpha=0.12, lw=0)
        ax.axhline(intact[metric], color=INTACT, linestyle="--", linewidth=0.9, label="intact")
        kinds = ((False, BLUE, "o", "unit deleted"), (True, ORANGE, "D", "transition deleted"))
        for transition, colour, marker, label in kinds:
            chosen = units.loc[units["transition"].astype(bool) == transition]
            if chosen.empty:
                continue
            bars = None
            if with_intervals:
                value = chosen[metric].to_numpy()
                bars = np.maximum(0, np.stack([value - chosen[low], chosen[high] - value]))
            ax.errorbar(chosen["unit"], chosen[metric], yerr=bars, fmt=marker, color=colour,
                        label=label, elinewidth=0.8, capsize=0, markersize=3.2, clip_on=False)  # fmt: skip
        ax.set_xlabel("Unit deleted (shading: stages)")
        ax.set_ylabel(metric_label(metric))
        ax.set_xlim(-0.7, stages["unit"].max() + 0.7)
        whole_numbers(ax.xaxis)
        drawn = [metric, low, high] if with_intervals else [metric]
        values = frame[drawn].to_numpy(float)
        top = float(np.nanmax(values, initial=0.0))
        if metric == "perplexity":  # one unit of a language model can cost a thousandfold
            ax.set_yscale("log")
            legend_above(ax)
            return ax
        ax.set_ylim(float(np.nanmin(values, initial=0.0)) * 1.08, top * 1.08 if top > 0 else 1)
        legend_above(ax)
    return ax


def lesion(frame: pd.DataFrame, *, metric: str | None = None, width: float = FULL) -> Figure:
    """The figure of ``lesion.csv``."""
    figure, (ax,) = new_figure(width, 2.3)
    draw(frame, ax, metric=metric)
    return figure


TITLE = "Each unit deleted alone"
HOW_TO_READ = (
    "Error with one unit's branch deleted and its skip left in place; the dashed line is the intact "
    "network. Conclude from points near the line that no single unit is needed. Bars are 95 % Wilson "
    "intervals over examples; whether a unit matters is told by the paired differences and the Holm- "
    "corrected tests of the table."
)


def headlines(frame: pd.DataFrame) -> Headlines:
    """The intact error, the middle of the lesions, how many units matter, and the three that matter most."""
    records: Any = frame.sort_values("unit").to_dict("records")
    intact, *units = records
    rows = [
        (
            "intact error",
            f"{percent(intact['error'])}  "
            f"(95 %: {100 * intact['error_low']:.2f} to {100 * intact['error_high']:.2f})",
        )
    ]
    deleted = [row for row in units if row["error"] == row["error"]]  # NaN: cannot be deleted
    rows += _perplexity(intact, deleted)
    if not deleted:
        return rows
    rows.append(("median, one unit deleted", percent(np.median([r["error"] for r in deleted]))))
    significant = sum(row["p_holm"] < 0.05 for row in deleted)
    rows.append(("units that change it (Holm, 5 %)", f"{significant} of {len(deleted)}"))
    return rows + [_costly(row) for row in sorted(deleted, key=lambda row: -row["error"])[:3]]


def _costly(row: dict[str, Any]) -> tuple[str, str]:
    """The error without a unit, with its paired difference."""
    mark = ", transition" if row["transition"] else ""
    return (
        f"without {row['unit']} ({row['name']}{mark})",
        f"{percent(row['error'])}  ({100 * row['delta']:+.2f} points: "
        f"{100 * row['delta_low']:+.2f} to {100 * row['delta_high']:+.2f})",
    )


def _perplexity(intact: dict[str, Any], deleted: list[dict[str, Any]]) -> Headlines:
    """Of a language model: the perplexity of the whole, and without the unit that it needs most."""
    if "perplexity" not in intact:
        return []

    def text(row: dict[str, Any]) -> str:
        interval = f"{row['perplexity_low']:.4g} to {row['perplexity_high']:.4g}"
        return f"{row['perplexity']:.4g}" + (
            f"  (95 %: {interval})" if "nan" not in interval else ""
        )

    rows: Headlines = [("intact perplexity", text(intact))]
    if deleted:
        middle = float(np.median([row["perplexity"] for row in deleted]))
        worst = max(deleted, key=lambda row: row["perplexity"])
        rows.append(("median perplexity, one unit deleted", f"{middle:.4g}"))
        rows.append((f"perplexity without {worst['unit']} ({worst['name']})", text(worst)))
    return rows
