"""A mean over random orders and over examples, both of which vary: Student's interval over both."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from resanalysis.errors import ResanalysisError

Floats = NDArray[np.float64]


class TwoWay(NamedTuple):
    """Means over rows and columns.

    Attributes
    ----------
    low, high : the interval over both.
    se_rows, se_columns : the standard error if the one alone varied and the other stayed as it is.
    """

    mean: Floats
    low: Floats
    high: Floats
    se_rows: Floats
    se_columns: Floats


def two_way(
    row_means: Floats, column_means: Floats, squares: Floats, *, level: float = 0.95
) -> TwoWay:
    """Intervals of the means of K tables, each of R rows by C columns, of which three sums are enough.

    With variance a of rows, b of columns and c of single cells, the mean's variance is a/R + b/C + c/RC. The
    variance of the row means over R is an estimate of a/R + c/RC, that of the column means over C of
    b/C + c/RC, and c follows from what is left: the two are added and c/RC is taken away once. Degrees of
    freedom after Satterthwaite.

    Parameters
    ----------
    row_means : (R, K), each over the columns.
    column_means : (C, K), each over the rows.
    squares : (K,), the sum of squares of all cells.

    Raises
    ------
    ResanalysisError : with fewer than two rows or columns.

    Source: Cameron, Gelbach and Miller 2011 (two-way clusters); Satterthwaite 1946.
    """
    rows, columns = len(row_means), len(column_means)
    if min(rows, columns) < 2:
        raise ResanalysisError(
            f"an interval over orders and examples needs at least 2 of each, got {rows} and {columns}"
        )
    mean = row_means.mean(0)
    of_rows = row_means.var(0, ddof=1) / rows
    of_columns = column_means.var(0, ddof=1) / columns
    cells = rows * columns
    # Σ (cell − row mean − column mean + mean)², multiplied out: no table has to be held. Of large tables with
    # little in their cells it is a difference of near numbers, hence the clip.
    rest = (
        squares
        - columns * (row_means**2).sum(0)
        - rows * (column_means**2).sum(0)
        + cells * mean**2
    )
    of_cells = rest.clip(min=0) / ((rows - 1) * (columns - 1)) / cells
    largest = np.maximum(of_rows, of_columns)  # as it is at least, whatever the estimate of c
    variance = np.maximum(of_rows + of_columns - of_cells, largest)
    spread = of_rows**2 / (rows - 1) + of_columns**2 / (columns - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = np.where(spread > 0, (of_rows + of_columns) ** 2 / spread, np.inf)
    half = stats.t.ppf(0.5 + level / 2, freedom) * np.sqrt(variance)
    return TwoWay(mean, mean - half, mean + half, np.sqrt(of_rows), np.sqrt(of_columns))
