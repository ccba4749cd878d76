"""Shapley value of each unit beside the damage of deleting it alone."""

from __future__ import annotations

from functools import partial

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
    new_figure,
    panelled,
    shade_stages,
    whole_numbers,
)
from resanalysis.figures.words import Finding, examples

LABELS = {
    "loss": "Added cross-entropy (nats)",
    "error": "Added error (fraction)",
    "kl": "Added KL from intact (nats)",
}


def draw(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Two points a unit: its value, and the damage of deleting it alone, with their intervals.

    Needs ``unit``, ``stage``, and ``value`` and ``damage`` with ``_low`` and ``_high``. Conclude from a value
    far above the damage that others stand in for the unit while they are there; from a value below the
    damage, that much of what it does is of use only to others.
    """
    if ax is None:
        ax = new_figure()[1][0]
    with mpl.rc_context(RC):
        shade_stages(ax, frame)
        ax.axhline(0, color=INTACT, linestyle="--", linewidth=0.8)
        looks = (
            ("damage", ORANGE, "D", 0.17, "deleted alone"),
            ("value", BLUE, "o", -0.17, "Shapley value"),
        )
        for name, colour, marker, beside, label in looks:
            middle = frame[name].to_numpy(float)
            bars = np.stack([middle - frame[f"{name}_low"], frame[f"{name}_high"] - middle])
            ax.errorbar(frame["unit"] + beside, middle, yerr=bars.clip(min=0), fmt=marker,
                        color=colour, label=label, elinewidth=0.8, capsize=0, markersize=2.8)  # fmt: skip
        units = frame["unit"].to_numpy(int)
        ax.set_xlim(units.min() - 0.7, units.max() + 0.7)
        ax.set_xlabel("Unit (shading: stages)")
        ax.set_ylabel(LABELS[frame.attrs.get("by", "loss")])
        whole_numbers(ax.xaxis)
        legend_above(ax)
    return ax


def shapley(frame: pd.DataFrame, *, width: float = FULL, panel: str | None = None) -> Figure:
    """The figure of ``shapley.csv``."""
    return panelled([partial(draw, frame)], "shapley", width=width, panel=panel, height=2.3)[0]


TITLE = "What each unit is worth"
HOW_TO_READ = (
    "Shapley value of each unit: what its deletion adds, on average over the orders in which units can go "
    "one after the other; beside it, what deleting it alone adds. Conclude from a value above the damage "
    "that others stand in for the unit; from one below, that much of what it does is of use to others only. "
    "Bars are 95 % intervals: of values over orders and examples (over examples where all deletions were "
    "measured), of damages over examples."
)


def headlines(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """What is shared out, over how many orders, the units worth most, and how damage compares."""
    facts, values = frame.attrs, frame["value"].to_numpy(float)
    damage = frame["damage"].to_numpy(float)
    by = str(facts.get("by", "loss"))
    unit = "" if by == "error" else " nats"
    rows = [(f"{by} that all units take away, shared out", f"{values.sum():.4g}{unit}")]
    if "orders" in facts:
        ran = facts["orders"]
        rows.append(
            ("found from", f"all 2^{len(frame)} deletions" if ran is None else f"{ran} orders")
        )
    for at in np.argsort(-values, kind="stable")[:3]:
        row = frame.iloc[int(at)]
        rows.append(
            (
                f"value of {row['unit']} ({row['name']})",
                f"{row['value']:.3g}{unit}  (95 %: {row['value_low']:.3g} to {row['value_high']:.3g}); "
                f"alone {row['damage']:.3g}",
            )
        )
    rows.append(
        (
            "sum of the damages alone, over the sum of the values",
            f"{damage.sum() / values.sum():.2f}" if values.sum() else "undefined",
        )
    )
    if facts.get("left_out"):
        rows.append(("cannot be deleted", " ".join(str(unit) for unit in facts["left_out"])))
    return rows


def findings(frame: pd.DataFrame) -> list[Finding]:
    """The unit that is worth most over all orders in which units can go."""
    row = frame.loc[frame["value"].idxmax()]
    by = str(frame.attrs.get("by", "loss"))
    return [
        Finding(
            f"Over the orders in which units can go, unit {row['unit']} ({row['name']}) is worth most: "
            f"{row['value']:.3g} of the {frame['value'].sum():.3g} in {by} that all units take away.",
            f"95 %: {row['value_low']:.3g} to {row['value_high']:.3g}; alone it costs {row['damage']:.3g}; "
            f"{examples(frame)}",
        )
    ]
