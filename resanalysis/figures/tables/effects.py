"""What skipping a unit does to every later one: a map, and the effect on the output beside it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from resanalysis.figures.heat_map import heat_map
from resanalysis.figures.style import (
    BLUE,
    FULL,
    ORANGE,
    RC,
    legend_above,
    narrow,
    one_axes,
    panelled,
    whole_numbers,
)
from resanalysis.figures.words import Headlines, column

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "What skipping a unit does to later ones"
HOW_TO_READ = (
    "Relative change ‖b′ − b‖ / ‖b‖ of every later unit's branch, and of the output, as one unit is skipped: "
    "means over examples or tokens, without an interval; above 1 the map is as at 1; lines are borders of "
    "stages. Conclude from a column that stays dark that all behind builds on that unit, from one that fades "
    "that later units hardly read it. Direct: all units between add what they add unskipped; what parts it "
    "from the total came through them."
)


def draw(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """A map of ``change_mean`` by ``skipped`` and ``unit``; earlier units do not change and stay empty.

    Needs ``skipped``, ``unit``, ``change_mean``, ``name``, ``skipped_stage`` and ``stage``. Conclude from dark
    cells near the diagonal that neighbours build on each other; from dark columns, that all behind builds on
    one unit.
    """
    ax = ax or one_axes()
    inside = frame.loc[frame["name"] != "output"]
    stage = _stages(inside)
    table = inside.pivot(index="unit", columns="skipped", values="change_mean")
    table = table.reindex(index=stage, columns=stage).clip(upper=1)
    with mpl.rc_context(RC):
        heat_map(table, ax, label="Change of branch (fraction)")
        borders = np.flatnonzero(np.diff(list(stage.values()))) + 1
        for border in borders.tolist():
            ax.plot([0, border], [border] * 2, color="0.6", linewidth=0.6)
            ax.plot([border] * 2, [border, len(stage)], color="0.6", linewidth=0.6)
        ax.set_xlabel("Skipped unit")
        ax.set_ylabel("Later unit")
    return ax


def draw_output(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The mean change of the output by the skipped unit, total and direct.

    Needs ``skipped``, ``name``, ``change_mean`` and ``direct``. Conclude from a direct effect below the total
    that later units pass on, or add to, what is missing; from one above it, that they make up for it.
    """
    ax = ax or one_axes()
    rows = frame.loc[frame["name"] == "output"].sort_values("skipped")
    with mpl.rc_context(RC):
        for name, label, colour, look in (
            ("change_mean", "total", BLUE, "o-"),
            ("direct", "direct", ORANGE, "s--"),
        ):
            there = rows.loc[rows[name].notna()]
            if len(there):
                ax.plot(
                    there["skipped"], there[name], look, color=colour, label=label, markersize=2.5
                )
        ax.set_ylim(bottom=0)
        whole_numbers(ax.xaxis)
        ax.set_xlabel("Skipped unit")
        ax.set_ylabel("Change of output (fraction)")
        legend_above(ax)
    return ax


def effects(frame: pd.DataFrame, *, width: float = FULL, panel: str | None = None) -> Figure:
    """The figure of ``effects.csv``: the map, and the output's change where the model has one output."""
    of_output = frame["name"].to_numpy() == "output"
    drawn = [] if of_output.all() else [partial(draw, frame)]  # a single unit has none behind it
    if of_output.any():
        drawn.append(partial(draw_output, frame))
    height = 0.8 * width if narrow(width) or len(drawn) == 1 else 0.45 * width
    return panelled(drawn, "effects", width=width, panel=panel, height=height)[0]


def _stages(inside: pd.DataFrame) -> dict[int, int]:
    """The stage of each unit from the first to the last in the table, none left out between them."""
    known = dict(zip(inside["skipped"].tolist(), inside["skipped_stage"].tolist(), strict=True))
    known |= dict(zip(inside["unit"].tolist(), inside["stage"].tolist(), strict=True))
    stages: dict[int, int] = {}
    last = 0
    for unit in range(min(known), max(known) + 1):
        last = stages[unit] = known.get(unit, last)
    return stages


def headlines(frame: pd.DataFrame) -> Headlines:
    """How far effects reach, which unit's is the largest, and what of the output's change is direct."""
    inside = frame.loc[(frame["name"] != "output") & frame["change_mean"].notna()]
    found: Headlines = []
    if len(inside):
        near = (inside["unit"] - inside["skipped"]).to_numpy() == 1
        change = column(inside, "change_mean")
        for label, chosen in (("the unit behind", near), ("all units after that", ~near)):
            if chosen.any():
                found.append((f"change of {label}, median", f"{np.median(change[chosen]):.3g}"))
        by_unit = inside.groupby(["skipped", "skipped_name"])["change_mean"].mean()
        unit, name = by_unit.idxmax()
        found.append(("largest mean effect", f"unit {unit} ({name}): {by_unit.max():.3g}"))
    output = frame.loc[(frame["name"] == "output") & frame["change_mean"].notna()]
    if len(output):
        most = output.loc[output["change_mean"].idxmax()]
        found.append(
            (
                "change of the output, median over skipped units",
                f"{output['change_mean'].median():.3g}; most without {most['skipped']} "
                f"({most['skipped_name']}): {most['change_mean']:.3g}",
            )
        )
        both = output.loc[output["direct"].notna()]
        if len(both):
            found.append(
                (
                    "direct and total change of the output, median",
                    f"{both['direct'].median():.3g} and {both['change_mean'].median():.3g}, "
                    f"{len(both)} units of the last run",
                )
            )
    return found
