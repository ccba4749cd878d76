"""Two-way intervals against the analysis of variance cell by cell, and against draws of whole tables."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from resanalysis.errors import ResanalysisError
from resanalysis.statistics.two_way import TwoWay, two_way


def of_table(cells: np.ndarray) -> TwoWay:
    """Of (R, C, K) cells."""
    return two_way(cells.mean(1), cells.mean(0), (cells**2).sum((0, 1)))


def test_it_is_the_analysis_of_variance() -> None:
    cells = np.random.default_rng(0).normal(0, 1, (6, 9, 2)) + 3
    cells += np.random.default_rng(1).normal(0, 2, (6, 1, 2))
    found = of_table(cells)
    for k in range(2):
        table = cells[:, :, k]
        fitted = table.mean(1)[:, None] + table.mean(0) - table.mean()
        rest = ((table - fitted) ** 2).sum() / (5 * 8)
        rows, columns = table.mean(1).var(ddof=1) / 6, table.mean(0).var(ddof=1) / 9
        assert found.mean[k] == pytest.approx(table.mean())
        assert found.se_rows[k] == pytest.approx(np.sqrt(rows))
        assert found.se_columns[k] == pytest.approx(np.sqrt(columns))
        variance = max(rows + columns - rest / 54, rows, columns)
        freedom = (rows + columns) ** 2 / (rows**2 / 5 + columns**2 / 8)
        half = (found.high[k] - found.low[k]) / 2
        assert half == pytest.approx(stats.t.ppf(0.975, freedom) * np.sqrt(variance))


@pytest.mark.parametrize(
    ("rows", "columns", "cells"), [(1, 0.3, 1), (0, 1, 0.5), (1, 1, 0), (0, 0, 1)]
)
def test_it_holds_the_mean_as_often_as_stated(rows: float, columns: float, cells: float) -> None:
    rng = np.random.default_rng(2)
    shape = (10, 30, 2000)
    drawn = (
        rows * rng.normal(size=(10, 1, 2000))
        + columns * rng.normal(size=(1, 30, 2000))
        + cells * rng.normal(size=shape)
    )
    found = of_table(drawn)
    held = ((found.low < 0) & (found.high > 0)).mean()
    assert held > 0.93


def test_tables_that_are_all_alike_have_no_width() -> None:
    found = of_table(np.ones((4, 5, 1)))
    assert (found.low[0], found.high[0]) == (1, 1)


def test_it_needs_two_of_each() -> None:
    with pytest.raises(ResanalysisError, match="needs at least 2 of each, got 1 and 5"):
        of_table(np.ones((1, 5, 1)))
