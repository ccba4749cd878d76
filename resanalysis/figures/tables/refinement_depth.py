"""What the table of prediction depths says in a few numbers; ``figures.refinement`` draws it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resanalysis.figures.words import Headlines

if TYPE_CHECKING:
    import pandas as pd


def headlines(frame: pd.DataFrame) -> Headlines:
    """Median prediction depth, of all examples, of right answers and of wrong ones."""
    kinds = [("all", frame)]
    if "correct" in frame:
        right = frame["correct"].astype(bool)
        kinds += [("right answers", frame.loc[right]), ("wrong answers", frame.loc[~right])]
    return [
        (
            f"prediction depth, {name}",
            f"{rows['depth'].median():g} (median), {rows['depth'].mean():.3g} (mean), {len(rows)} examples",
        )
        for name, rows in kinds
        if len(rows)
    ]
