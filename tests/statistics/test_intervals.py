"""Intervals and tests against scipy, simulation and small cases by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from resanalysis.statistics.intervals import (
    _kendall,
    _spearman,
    bootstrap_mean,
    bootstrap_quantile,
    holm,
    mcnemar_exact,
    mean_interval,
    paired_difference,
    paired_rate_difference,
    rank_correlation,
    smooth_trend,
    wilcoxon_p,
    wilson,
)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (74, 1017)])
def test_wilson_equals_scipy(hits: int, n: int) -> None:
    low, high = wilson(hits, n)
    expected = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert (float(low), float(high)) == pytest.approx((expected.low, expected.high))
    assert float(high) > float(low)


def test_paired_difference_equals_the_t_test() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=30), rng.normal(size=30)
    found = paired_difference(a, b)
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert found == pytest.approx((float((a - b).mean()), expected.low, expected.high))


def test_rate_difference_by_hand_and_with_no_change() -> None:
    a = np.array([1] * 9 + [0] * 91)
    b = np.array([0] * 6 + [1] * 3 + [1] * 2 + [0] * 89)
    found = paired_rate_difference(a, b)
    assert found.mean == pytest.approx(0.04)
    gained, lost, total = 6.5, 2.5, 102.0
    half = 1.959964 * math.sqrt(gained + lost - (gained - lost) ** 2 / total) / total
    assert found.low == pytest.approx(4 / total - half, abs=1e-6)
    assert found.high == pytest.approx(4 / total + half, abs=1e-6)
    same = paired_rate_difference(a, a)
    assert same.low < 0 < same.high


def test_rate_difference_covers_the_truth() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(800):
        first = rng.random(60) < 0.3
        second = np.where(rng.random(60) < 0.8, first, rng.random(60) < 0.5)
        interval = paired_rate_difference(first, second)
        covered += interval.low <= 0.3 - (0.8 * 0.3 + 0.2 * 0.5) <= interval.high
    assert covered / 800 > 0.92


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_mcnemar_equals_the_sum_over_the_binomial(pairs: list[tuple[bool, bool]]) -> None:
    a, b = np.array(pairs).T
    gained, lost = int(np.sum(a & ~b)), int(np.sum(~a & b))
    n = gained + lost
    chance = [math.comb(n, k) / 2**n for k in range(n + 1)]
    expected = sum(p for p in chance if p <= chance[gained] * (1 + 1e-7))
    assert mcnemar_exact(a, b) == pytest.approx(min(1.0, expected))


def holm_by_hand(values: list[float]) -> list[float]:
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted, running = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = running
    return adjusted


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_equals_the_step_down_loop(values: list[float]) -> None:
    assert holm(values).tolist() == pytest.approx(holm_by_hand(values))


def test_holm_leaves_nan_out() -> None:
    assert holm([0.01, np.nan, 0.02]).tolist() == pytest.approx([0.02, np.nan, 0.02], nan_ok=True)


def test_bootstrap_is_seeded_and_near_the_normal_interval() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    found = bootstrap_mean(values, seed=5)
    assert found == bootstrap_mean(values, seed=5)
    assert found != bootstrap_mean(values, seed=6)
    half = 1.96 * values.std(ddof=1) / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.04)
    assert found.high == pytest.approx(values.mean() + half, abs=0.04)


def test_trend_reproduces_a_line_and_its_band_covers_it() -> None:
    x = np.random.default_rng(0).uniform(0, 1, 80)
    exact = smooth_trend(x, 2 * x + 1)
    np.testing.assert_allclose(exact.y, 2 * exact.x + 1, atol=1e-8)
    noisy = smooth_trend(x, 2 * x + 1 + np.random.default_rng(1).normal(0, 0.2, 80))
    inside = (noisy.low <= 2 * noisy.x + 1) & (2 * noisy.x + 1 <= noisy.high)
    assert inside.mean() > 0.7
    assert (noisy.low <= noisy.y).mean() > 0.95


def test_trend_equals_a_weighted_least_squares_fit() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.uniform(0, 1, 20), rng.normal(size=20)
    found = smooth_trend(x, y, at=[0.4], bandwidth=0.2)
    weight = np.exp(-0.5 * ((x - 0.4) / 0.2) ** 2)
    slope, intercept = np.polyfit(x - 0.4, y, 1, w=np.sqrt(weight))
    del slope
    assert found.y[0] == pytest.approx(intercept)


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


def test_bootstrap_of_clusters_equals_a_loop_and_is_wider() -> None:
    rng = np.random.default_rng(0)
    clusters = np.repeat([7, 3, 9, 1, 5, 8], [1, 4, 9, 2, 9, 5])
    values = rng.normal(size=30) + 3.0 * clusters
    found = bootstrap_mean(values, clusters=clusters, resamples=300, seed=1)
    assert found.mean == pytest.approx(values.mean())
    names = np.unique(clusters)
    picks = np.random.default_rng(1)
    drawn = []
    for size in (200, 100):
        for chosen in picks.integers(0, 6, (size, 6)):
            drawn.append(np.concatenate([values[clusters == names[c]] for c in chosen]).mean())
    assert found[1:] == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))
    alone = bootstrap_mean(values, resamples=300, seed=1)
    assert found.high - found.low > alone.high - alone.low
    with pytest.raises(ValueError, match="a mean needs at least one value, got none"):
        bootstrap_mean([])


def test_bootstrap_of_a_quantile_equals_a_loop() -> None:
    values = np.random.default_rng(0).exponential(size=40)
    found = bootstrap_quantile(values, 0.25, resamples=100, seed=2)
    chosen = np.random.default_rng(2).integers(0, 40, (100, 40))
    drawn = [np.quantile(values[row], 0.25) for row in chosen]
    assert found == pytest.approx((np.quantile(values, 0.25), *np.quantile(drawn, [0.025, 0.975])))
    with pytest.raises(ValueError, match="a quantile needs at least one value, got none"):
        bootstrap_quantile([], 0.5)


def test_wilcoxon_equals_all_sign_flips() -> None:
    difference = np.array([0.3, -0.1, 0.7, 0.9, -0.4, 1.1, 0.2])
    ranks = stats.rankdata(np.abs(difference))
    flips = np.array([ranks[list(signs)].sum() for signs in all_subsets(7)])
    seen = ranks[difference > 0].sum()
    both_tails = 2 * min((flips >= seen).mean(), (flips <= seen).mean())
    assert wilcoxon_p(difference, np.zeros(7)) == pytest.approx(both_tails)
    assert wilcoxon_p([1.0, 2.0], [1.0, 2.0]) == 1.0
    assert math.isnan(wilcoxon_p([1.0, float("nan")], [1.0, 2.0]))


def all_subsets(n: int) -> list[tuple[int, ...]]:
    return [subset for k in range(n + 1) for subset in itertools.combinations(range(n), k)]


def test_intervals_that_cannot_be_say_so() -> None:
    with pytest.raises(ValueError, match="a rate needs at least one trial, got n = 0"):
        wilson(0, 0)
    with pytest.raises(ValueError, match="an interval of a mean needs at least 2 examples, got 1"):
        mean_interval([1.0])
    with pytest.raises(
        ValueError, match="a difference of rates needs at least one example, got none"
    ):
        paired_rate_difference([], [])
    with pytest.raises(ValueError, match="a trend needs at least 3 points at different places"):
        smooth_trend([1, 1, 1], [1, 2, 3])
