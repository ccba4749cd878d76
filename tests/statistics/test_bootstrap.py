"""The bootstrap against scipy's on the same resamples, and against loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from resanalysis.statistics.bootstrap import (
    bootstrap,
    bootstrap_quantile,
    mean_band,
    ratio_band,
    resampled,
)


def test_resamples_are_drawn_as_scipy_draws_them() -> None:
    found = np.concatenate(list(resampled(7, resamples=230, seed=3)))
    chosen = np.random.default_rng(3).integers(0, 7, (230, 7))
    assert found.tolist() == [np.bincount(row, minlength=7).tolist() for row in chosen]
    assert [len(part) for part in resampled(7, resamples=230)] == [100, 100, 30]


@pytest.mark.parametrize("method", ["BCa", "percentile"])
def test_the_interval_of_a_mean_equals_scipys(method: str) -> None:
    values = np.random.default_rng(0).exponential(size=(3, 25))
    if method == "BCa":
        found = mean_band(values, resamples=999, seed=5)
    else:
        found = bootstrap(lambda w: w @ values.T / 25, 25, resamples=999, seed=5)
    for row in range(3):
        expected = stats.bootstrap(
            (values[row],), np.mean, method=method, n_resamples=999, rng=np.random.default_rng(5)
        ).confidence_interval
        assert found.row(row)[1:] == pytest.approx((expected.low, expected.high), rel=1e-9)
        assert found.mean[row] == pytest.approx(values[row].mean())


def test_a_seed_gives_the_same_bytes_and_rows_share_resamples() -> None:
    values = np.random.default_rng(1).normal(size=(2, 30))
    first, again, other = (mean_band(values, seed=seed) for seed in (4, 4, 5))
    assert first.low.tobytes() == again.low.tobytes()
    assert first.low.tolist() != other.low.tolist()
    shifted = mean_band(np.stack([values[0], values[0] + 3]), seed=4)
    assert shifted.low[1] == pytest.approx(shifted.low[0] + 3)


def test_values_that_are_missing_equal_values_that_are_left_out() -> None:
    values = np.random.default_rng(2).exponential(size=200)
    values[120:] = np.nan
    found = mean_band(values, seed=0).row(0)
    whole = mean_band(values[:120], seed=0).row(0)
    assert found.mean == pytest.approx(whole.mean)
    assert found[1:] == pytest.approx(whole[1:], rel=0.03)
    assert np.isnan(mean_band(np.full((1, 5), np.nan)).row(0)).all()


def test_equal_values_and_single_ones() -> None:
    assert mean_band(np.full((1, 9), 2.5)).row(0) == (2.5, 2.5, 2.5)
    assert np.isnan(mean_band([[2.5]]).row(0)[1:]).all()


def test_a_ratio_equals_a_loop_over_texts() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 9, 12)
    losses = rng.exponential(size=(2, 12))
    found = ratio_band(losses * tokens, tokens, resamples=150, seed=1)
    chosen = np.random.default_rng(1).integers(0, 12, (150, 12))
    for row in range(2):
        drawn = [np.average(losses[row][picked], weights=tokens[picked]) for picked in chosen]
        assert found.mean[row] == pytest.approx(np.average(losses[row], weights=tokens))
        ends = np.quantile(drawn, [0.025, 0.975])
        assert (found.low[row], found.high[row]) == pytest.approx(tuple(ends))
    one = ratio_band(tokens, tokens)
    assert one.row(0) == (1, 1, 1)
    assert np.isnan(ratio_band([1, 1, -1], [1, 1, -1]).low).all()  # often nothing to divide by


def test_bootstrap_of_a_quantile_equals_a_loop() -> None:
    values = np.random.default_rng(0).exponential(size=40)
    found = bootstrap_quantile(values, 0.25, resamples=100, seed=2)
    chosen = np.random.default_rng(2).integers(0, 40, (100, 40))
    drawn = [np.quantile(values[row], 0.25) for row in chosen]
    assert found == pytest.approx((np.quantile(values, 0.25), *np.quantile(drawn, [0.025, 0.975])))
    with pytest.raises(ValueError, match="a quantile needs at least one value, got none"):
        bootstrap_quantile([], 0.5)


def test_the_mean_of_a_skewed_loss_is_covered() -> None:
    """Nominal 95 %; the table in docs/statistics.md has more sizes, and t and percentile beside it."""
    rng = np.random.default_rng(0)
    true = np.logaddexp(0, -rng.normal(3, 3, 10**6)).mean()
    found = mean_band(np.logaddexp(0, -rng.normal(3, 3, (800, 100))), resamples=1000)
    assert np.mean((found.low <= true) & (true <= found.high)) > 0.91
