"""Similarity of the streams after any two units: a heat map."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from resanalysis.figures.heat_map import heat_map
from resanalysis.figures.style import FULL, RC, one_axes, panelled
from resanalysis.figures.words import Headlines, column

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "How alike the streams after any two units are"
HOW_TO_READ = (
    "Linear CKA of the streams after two units (−1: before the first), 1 where they are alike up to rotation "
    "and scale; lines are borders of stages. Conclude from a block of one colour that its units hardly change "
    "what is represented, from its edge that something new begins. One estimate, without an interval."
)


def draw(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """A map of ``cka`` by ``unit_a`` and ``unit_b``, with lines where ``stage_a`` and ``stage_b`` change."""
    ax = ax or one_axes()
    with mpl.rc_context(RC):
        heat_map(frame.pivot(index="unit_a", columns="unit_b", values="cka"), ax, label="CKA")
        for end, line in (("a", ax.axhline), ("b", ax.axvline)):
            stage = frame.groupby(f"unit_{end}")[f"stage_{end}"].first().to_numpy()
            for border in np.flatnonzero(np.diff(stage)) + 1:
                line(float(border), color="white", linewidth=0.8)
        other = frame.attrs.get("other")
        ax.set_xlabel("Stream after unit" + (f" ({other})" if other else ""))
        ax.set_ylabel("Stream after unit" + (f" ({frame.attrs['model']})" if other else ""))
    return ax


def cka(frame: pd.DataFrame, *, width: float = FULL, panel: str | None = None) -> Figure:
    """The figure of ``cka.csv``."""
    return panelled([partial(draw, frame)], "cka", width=width, panel=panel, height=0.8 * width)[0]


def headlines(frame: pd.DataFrame) -> Headlines:
    """How alike neighbours are, and the first and the last stream."""
    near = frame.loc[frame["unit_b"] == frame["unit_a"] + 1]
    least = near.iloc[int(np.nanargmin(column(near, "cka")))]
    ends = column(frame, "cka")[[frame["unit_b"].to_numpy().argmax()]]
    return [
        ("neighbouring streams, median CKA", f"{np.nanmedian(column(near, 'cka')):.3f}"),
        ("least alike neighbours", f"{least['unit_a']:.0f} and {least['unit_b']:.0f}: {least['cka']:.3f}"),
        ("before the first and after the last unit", f"{ends[0]:.3f}"),
    ]  # fmt: skip
