"""Confidence sequences against loops over their definition, and what they promise by simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from resanalysis.statistics.intervals import paired_intervals
from resanalysis.statistics.sequences import difference_p, difference_sequence, mean_sequence


def stakes(values: list[float], alpha: float) -> list[float]:
    """The bet on each value, from those before it."""
    found: list[float] = []
    for t in range(1, len(values) + 1):
        before = values[: t - 1]
        estimates = [(0.5 + sum(values[:i])) / (i + 1) for i in range(1, t)]
        spread = 0.25 + sum((v - e) ** 2 for v, e in zip(before, estimates, strict=True))
        found.append(math.sqrt(2 * math.log(2 / alpha) / (spread / t * t * math.log(1 + t))))
    return found


def capitals(values: list[float], bets: list[float], mean: float) -> list[float]:
    """Hedged capital after each value, word for word as Waudby-Smith and Ramdas define it."""
    up = down = 1.0
    found: list[float] = []
    for x, bet in zip(values, bets, strict=True):
        up *= 1 + min(bet, 0.5 / mean) * (x - mean)
        down *= 1 - min(bet, 0.5 / (1 - mean)) * (x - mean)
        found.append(max(up / 2, down / 2))
    return found


@pytest.mark.parametrize("rates", [(0.0, 0.0), (0.3, 0.05), (0.02, 0.4)])
def test_ends_equal_a_loop_over_all_means(rates: tuple[float, float]) -> None:
    rng = np.random.default_rng(3)
    values = rng.choice([1.0, 0.0, 0.5], 90, p=[*rates, 1 - sum(rates)])
    alpha, step = 0.1, 1 / 400
    bets = stakes(list(values), alpha)
    possible = np.arange(step, 1, step)
    kept = [mean for mean in possible if max(capitals(list(values), bets, mean)) < 1 / alpha]
    found = mean_sequence(values, level=1 - alpha).row(0)
    assert found.mean == pytest.approx(values.mean())
    assert kept[0] - step <= found.low <= kept[0]
    assert kept[-1] <= found.high <= kept[-1] + step


def test_rows_are_their_own_and_may_end_early() -> None:
    rng = np.random.default_rng(0)
    rows = (rng.random((3, 200)) < [[0.1], [0.5], [0.9]]).astype(float)
    short = rows.copy()
    short[1, 120:] = np.nan
    found = mean_sequence(short)
    for number, end in enumerate((200, 120, 200)):
        assert found.row(number) == pytest.approx(mean_sequence(rows[number, :end]).row(0))


def test_a_look_more_never_widens_and_mirrors() -> None:
    values = (np.random.default_rng(1).random(300) < 0.2).astype(float)
    bands = [mean_sequence(values[:n]).row(0) for n in range(20, 301, 40)]
    assert all(b.low >= a.low and b.high <= a.high for a, b in itertools.pairwise(bands))
    found, mirrored = mean_sequence(values).row(0), mean_sequence(1 - values).row(0)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((found.low, found.high))


def test_p_values_agree_with_the_interval_and_capital() -> None:
    rng = np.random.default_rng(2)
    base = (rng.random(400) < 0.1).astype(float)
    flips = rng.random((30, 400)) < np.linspace(0, 0.12, 30)[:, None]
    rows = np.where(flips, 1 - base, base)
    p, band = difference_p(rows, base), difference_sequence(rows, base)
    outside = (band.low > 0) | (band.high < 0)
    assert 0 < outside.sum() < 30
    assert ((p < 0.05) == outside).all()
    values = list((1 + rows[20] - base) / 2)
    slow = 1 / max(capitals(values, stakes(values, 0.05), 0.5))
    assert p[20] == pytest.approx(min(1, slow))
    assert difference_p(base, base) == pytest.approx([1.0])


def test_the_ends_are_where_p_is_one_in_twenty() -> None:
    change = np.random.default_rng(6).choice([1.0, 0.0, -1.0], 300, p=[0.2, 0.7, 0.1])
    nothing = np.zeros(300)
    found = difference_sequence(change, nothing).row(0)
    for end in (found.low, found.high):
        assert difference_p(change, nothing, end) == pytest.approx([0.05])
    assert difference_p(change, nothing, found.mean) > 0.05


def test_an_odd_beginning_widens_it_to_hold_the_mean() -> None:
    values = np.concatenate([np.ones(60), np.zeros(200)])
    found = mean_sequence(values).row(0)
    assert mean_sequence(values[:60]).row(0).low > found.mean == found.low


def test_it_is_wider_than_an_interval_for_one_size_but_not_by_much() -> None:
    rng = np.random.default_rng(4)
    base = (rng.random(4000) < 0.08).astype(float)
    row = np.where(rng.random(4000) < 0.05, 1 - base, base)
    sequence, fixed = difference_sequence(row, base), paired_intervals(row, base)
    ratio = float(((sequence.high - sequence.low) / (fixed.high - fixed.low))[0])
    assert 1 < ratio < 2.5


def test_it_holds_at_all_sizes_together_where_a_fixed_interval_does_not() -> None:
    """A miss at any of 400 sizes counts; the true difference is 0."""
    rng = np.random.default_rng(5)
    change = rng.choice([1.0, 0.0, -1.0], (1000, 400), p=[0.1, 0.8, 0.1])
    assert (difference_p(change, np.zeros(400)) < 0.05).mean() < 0.05
    sums, n = np.cumsum(change, axis=1), np.arange(1, 401)
    fixed = np.abs(sums) > 1.96 * np.sqrt(np.cumsum(change**2, axis=1))
    assert fixed[:, n >= 20].any(axis=1).mean() > 0.2
