"""Several models in one figure, and against each other on the same examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from resanalysis.figures.words import Finding
from resanalysis.run.report.listing import Listing
from resanalysis.run.report.results import Result
from resanalysis.run.report.section import Picture, picture


@dataclass(frozen=True)
class Pairs:
    """Every two models against each other, for the page.

    Attributes
    ----------
    how : they were compared, in words.
    listing : the table.
    findings : a sentence for each pair.
    """

    how: str
    listing: Listing
    findings: Sequence[Finding] = ()


def together(there: Mapping[str, Result]) -> Picture | None:
    """All models in one figure; ``None`` for an experiment without a curve.

    Parameters
    ----------
    there : one experiment's result by the label of the model.
    """
    from resanalysis.figures.compared import compared
    from resanalysis.figures.style import measured
    from resanalysis.statistics.pooling import curves

    first = next(iter(there.values()))
    if first.experiment.curve is None:
        return None
    x, y = first.experiment.curve
    if y == "error" and np.isnan(first.table[y].to_numpy(float)).all():  # of detections: no error
        y = measured(first.table, None)
    tables = [result.table.assign(model=label) for label, result in there.items()]
    lines = curves(pd.concat(tables, ignore_index=True), x, y)
    if lines.empty:
        return None
    known = y == "error" and "chance_error" in first.table
    chance = float(first.table["chance_error"].iloc[0]) if known else None
    draw = partial(compared, lines, x=x, y=y, chance=chance)
    return picture(lambda width: draw(width=width), {"": lines}, f"together-{first.stem}")
