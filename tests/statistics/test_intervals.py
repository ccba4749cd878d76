"""Intervals against scipy, simulation and small cases by hand; the one rule that chooses among them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from resanalysis.statistics.bootstrap import mean_band
from resanalysis.statistics.intervals import (
    changes_from_first,
    intervals_of,
    paired_interval,
    paired_intervals,
    paired_rate_difference,
    unchanged,
    wilson,
)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (74, 1017)])
def test_wilson_equals_scipy(hits: int, n: int) -> None:
    low, high = wilson(hits, n)
    expected = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert (float(low), float(high)) == pytest.approx((expected.low, expected.high))
    assert float(high) > float(low)


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


def test_a_rate_gets_wilsons_interval_and_anything_else_a_bootstrap() -> None:
    rng = np.random.default_rng(0)
    rates = (rng.random((3, 40)) < 0.2).astype(np.float32)
    found = intervals_of(rates)
    for row, hits in enumerate(rates.sum(1)):
        expected = stats.binomtest(int(hits), 40).proportion_ci(0.95, method="wilson")
        assert found.row(row) == pytest.approx((hits / 40, expected.low, expected.high))
    # One row that is no rate makes none of them one: no table has two kinds of interval.
    mixed = np.vstack([rates, np.linspace(0, 1, 40)])
    assert intervals_of(mixed).low.tolist() == mean_band(mixed).low.tolist()
    assert intervals_of(rates[1:2]).row(0) == found.row(1)
    # A unit that could not be measured says nothing about the others.
    gap = intervals_of(np.vstack([rates, np.full(40, np.nan)]))
    assert gap.low[:3].tolist() == found.low.tolist()
    assert np.isnan(gap.row(3)).all()


def test_a_paired_difference_follows_the_same_rule() -> None:
    rng = np.random.default_rng(1)
    first, second = (rng.random((2, 50)) < 0.3).astype(float)
    assert paired_interval(first, second) == paired_rate_difference(first, second)
    losses, base = rng.exponential(size=(2, 50)), rng.exponential(size=50)
    assert paired_intervals(losses, base).low.tolist() == mean_band(losses - base).low.tolist()
    assert unchanged(base) == (0, 0, 0)
    assert np.isnan(unchanged([np.nan])).all()


def test_intervals_stay_in_range_and_one_example_has_none() -> None:
    rng = np.random.default_rng(2)
    losses = np.exp(rng.normal(-4, 3, (30, 8)))
    found = intervals_of(losses)
    assert (found.low >= losses.min(1)).all()
    assert (found.high <= losses.max(1)).all()
    assert (found.low <= found.mean).all()
    half = stats.t.ppf(0.975, 7) * stats.sem(losses, axis=1)
    assert (losses.mean(1) - half < 0).any()  # what a t interval would have said
    alone = intervals_of([[0.7]]).row(0)
    assert np.isnan(alone[1:]).all()
    assert alone.mean == 0.7
    assert intervals_of([[1.0]]).row(0).low == pytest.approx(wilson(1, 1)[0])


def test_wilson_covers_the_truth() -> None:
    hits = np.random.default_rng(3).binomial(50, 0.08, 2000)
    low, high = wilson(hits, 50)
    assert 0.93 < np.mean((low <= 0.08) & (high >= 0.08)) < 0.98


def test_intervals_that_cannot_be_say_so() -> None:
    with pytest.raises(ValueError, match="a rate needs at least one trial, got n = 0"):
        wilson(0, 0)
    with pytest.raises(
        ValueError, match="a difference of rates needs at least one example, got none"
    ):
        paired_rate_difference([], [])


def test_changes_from_the_first_row_are_those_of_each_row_and_the_first_is_known() -> None:
    table = np.array([[0.5, 1.0, 2.0, 1.5], [0.25, 2.0, 3.0, 1.0], [4.0, 1.0, 0.5, 2.5]])
    change = changes_from_first(table, seed=3)
    assert (change.mean[0], change.low[0], change.high[0]) == (0.0, 0.0, 0.0)
    expected = paired_intervals(table, table[0], seed=3)
    for found, known in zip(change, expected, strict=True):
        assert found[1:].tolist() == known[1:].tolist()
    table[0, 2] = math.nan
    assert math.isnan(float(changes_from_first(table).mean[0]))
