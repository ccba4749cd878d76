"""Rank correlations against scipy's, and their p-values against all permutations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from resanalysis.statistics.correlation import (
    _kendall,
    _spearman,
    rank_correlation,
    rank_correlation_p,
)


@pytest.mark.parametrize("method", ["kendall", "spearman"])
def test_rank_correlation(method: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=40)
    y = x + rng.normal(size=40)
    found = rank_correlation(x, y, method)
    expected = {"kendall": stats.kendalltau, "spearman": stats.spearmanr}[method](x, y).statistic
    assert found.mean == pytest.approx(expected)
    assert 0 < found.low < found.mean < found.high < 1
    with pytest.raises(ValueError, match="no rank correlation 'pearson'"):
        rank_correlation(x, y, "pearson")


@pytest.mark.parametrize("method", ["kendall", "spearman"])
def test_rank_correlation_resamples_equal_scipy_on_the_repeated_pairs(method: str) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 6, 15).astype(float), rng.integers(0, 6, 15).astype(float)  # with ties
    weights = rng.multinomial(15, np.full(15, 1 / 15), size=20).astype(float)
    weighted, scipys = {
        "kendall": (_kendall, stats.kendalltau),
        "spearman": (_spearman, stats.spearmanr),
    }[method]
    for found, times in zip(weighted(x, y, weights), weights.astype(int), strict=True):
        expected = scipys(np.repeat(x, times), np.repeat(y, times)).statistic
        assert found == pytest.approx(expected)


def test_rank_correlation_of_ties_alone_is_undefined() -> None:
    assert np.isnan(rank_correlation([1, 1, 1], [1, 2, 3])).all()
    with pytest.raises(ValueError, match="at least 3 pairs, got 2 and 3 values"):
        rank_correlation([1, 2], [1, 2, 3])


@pytest.mark.parametrize("method", ["kendall", "spearman"])
def test_p_value_equals_all_permutations(method: str) -> None:
    x, y = np.array([1.0, 2, 3, 4, 5, 6]), np.array([2.0, 1, 4, 3, 6, 5])
    measure = {"kendall": stats.kendalltau, "spearman": stats.spearmanr}[method]
    seen = measure(x, y).statistic
    every = np.array([measure(x, list(p)).statistic for p in itertools.permutations(y)])
    tails = [(every >= seen - 1e-9).mean(), (every <= seen + 1e-9).mean()]
    assert rank_correlation_p(x, y, method) == pytest.approx(min(1, 2 * min(tails)))


@pytest.mark.parametrize("method", ["kendall", "spearman"])
def test_p_value_of_many_pairs_is_near_scipys(method: str) -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=60)
    y = 0.3 * x + rng.normal(size=60)
    expected = {"kendall": stats.kendalltau, "spearman": stats.spearmanr}[method](x, y).pvalue
    assert rank_correlation_p(x, y, method) == pytest.approx(expected, abs=0.01)
    assert rank_correlation_p(x, y, method) == rank_correlation_p(x, y, method)
