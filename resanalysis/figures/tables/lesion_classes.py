"""What deleting each unit costs each class, as a map."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resanalysis.figures.heat_map import heat_map
from resanalysis.figures.style import FULL, RC, narrow, new_figure, panelled
from resanalysis.figures.words import Headlines, column

# More rows than these have no room for their names on a page.
MOST_CLASSES = 50
# Of more rows the map is high, and its scale stands beside it.
_FEW = 25
LEVEL = 0.05


@mpl.rc_context(RC)
def draw(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The change of each class's error by deleted unit; a dot where it is found after FDR correction.

    Needs ``class``, ``class_name``, ``unit``, ``delta`` and ``p_fdr``. Of more than 50 classes the 50 are drawn
    that lose most. Conclude from rows of one colour that a unit serves all classes alike; from single dark
    cells, that it serves one.
    """
    if ax is None:
        ax = new_figure()[1][0]
    shown = _worst(frame)
    points = shown.assign(delta=100 * shown["delta"])
    table = points.pivot(index="class", columns="unit", values="delta")
    few = len(table) <= _FEW
    heat_map(table, ax, label="change of the class's error (points)", above=few)
    found = shown.loc[shown["p_fdr"] < LEVEL]
    row = {label: place for place, label in enumerate(table.index)}
    across = {unit: place for place, unit in enumerate(table.columns)}
    dark = found["delta"].abs() > 0.6 * shown["delta"].abs().max()
    ax.scatter(
        [across[unit] + 0.5 for unit in found["unit"]],
        [row[label] + 0.5 for label in found["class"]],
        s=2.5, linewidth=0, color=np.where(dark, "white", "0.15"),
    )  # fmt: skip
    names = shown.drop_duplicates("class").set_index("class")["class_name"]
    words = [str(names[label])[:18] for label in table.index]
    ax.set_yticks(np.arange(len(table)) + 0.5, words, fontsize=6 if few else 5)
    everything = frame["class"].nunique()
    ax.set_ylabel("Class" if len(table) == everything else f"Class ({len(table)} of {everything})")
    ax.set_xlabel("Unit deleted")
    return ax


def _worst(frame: pd.DataFrame) -> pd.DataFrame:
    """All classes, or those that lose most on average over units."""
    lost: Any = frame.groupby("class")["delta"].mean()
    worst = lost.sort_values(ascending=False, kind="stable").index[:MOST_CLASSES]
    return frame.loc[frame["class"].isin(list(worst))]


def lesion_classes(frame: pd.DataFrame, *, width: float = FULL, panel: str | None = None) -> Figure:
    """The figure of ``lesion_classes.csv``."""
    classes = min(len(set(frame["class"])), MOST_CLASSES)
    height = 1.1 + (0.13 if narrow(width) else 0.15) * max(6, classes)
    return panelled([lambda ax: draw(frame, ax)], "lesion_classes", width=width, panel=panel,
                    height=height)[0]  # fmt: skip


TITLE = "Each unit deleted alone, by class"
HOW_TO_READ = (
    "What deleting one unit's branch adds to the error on each class, in points. A dot: the change is found "
    "after correction for the number of cells (exact McNemar tests, false discovery rate 5 %). Cells without a "
    "dot may be chance: a class has few examples. Conclude from rows of one colour that units serve all "
    "classes alike."
)


def headlines(frame: pd.DataFrame) -> Headlines:
    """How many cells are found, and the three that lose most."""
    found = int(np.sum(column(frame, "p_fdr") < LEVEL))
    rows: Headlines = [("cells that change (FDR, 5 %)", f"{found} of {len(frame)}")]
    for _, cell in frame.sort_values("delta", ascending=False, kind="stable").head(3).iterrows():
        low, high = 100 * cell["delta_low"], 100 * cell["delta_high"]
        rows.append(
            (
                f"{cell['class_name']} without {cell['unit']}",
                f"{100 * cell['delta']:+.1f} points  (95 %: {low:+.1f} to {high:+.1f}; n = {cell['n']})",
            )
        )
    return rows
