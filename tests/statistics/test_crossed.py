"""Two-way intervals against a loop over resamples, and against draws and examples that truly vary."""

from __future__ import annotations

import numpy as np
import pytest

from resanalysis.statistics.bootstrap import mean_band
from resanalysis.statistics.crossed import crossed_columns, crossed_means


def table(draws: int, examples: int, seed: int, spread: float = 2.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    level = -2 + rng.normal(0, 1, (draws, 1)) + rng.normal(0, spread, (1, examples))
    return (rng.random((draws, examples)) < 1 / (1 + np.exp(-level))).astype(np.float32)


def test_it_equals_a_loop() -> None:
    block = table(6, 9, 0)
    (found,) = crossed_means([block], listed=[False], resamples=120, seed=7)
    examples = np.random.default_rng([7, 1]).integers(0, 9, (120, 9))
    draws = np.random.default_rng([7, 2]).integers(0, 6, (120, 6))
    means = [block[rows][:, columns].mean() for rows, columns in zip(draws, examples, strict=True)]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
    assert found.mean == pytest.approx(block.mean())
    assert found.se == pytest.approx(np.std(means, ddof=1))
    assert found.se_draws == pytest.approx(block.mean(1).std(ddof=1) / np.sqrt(6))
    assert found.se_examples == pytest.approx(block.mean(0).std(ddof=1) / 3)


def test_draws_that_are_all_there_are_do_not_vary() -> None:
    block = table(5, 30, 1)
    free, listed = (
        crossed_means([block], listed=[flag], resamples=300)[0] for flag in (False, True)
    )
    assert listed.se_draws == 0
    assert listed.high - listed.low < free.high - free.low
    chosen = np.random.default_rng([0, 1]).integers(0, 30, (300, 30))
    means = [block[:, columns].mean() for columns in chosen]
    assert (listed.low, listed.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))


def test_blocks_share_the_resampled_examples() -> None:
    block = table(4, 20, 2)
    first, second = crossed_means([block, block + 1], listed=[True, True], resamples=50)
    assert second.low == pytest.approx(first.low + 1)


def test_one_draw_or_one_example_has_no_interval() -> None:
    for block in (table(1, 20, 3), table(20, 1, 3)):
        (found,) = crossed_means([block], listed=[False], resamples=20)
        assert np.isnan([found.low, found.high, found.se]).all()
        assert found.mean == pytest.approx(block.mean())
    assert crossed_means([], listed=[]) == []


@pytest.mark.parametrize("listed", [True, False])
def test_what_was_not_measured_has_no_number(listed: bool) -> None:
    (found,) = crossed_means([np.full((3, 4), np.nan)], listed=[listed], resamples=20)
    assert np.isnan(found).all()


def test_columns_repeat_a_groups_numbers_in_its_rows() -> None:
    rows = table(5, 12, 4)
    frame = crossed_columns({"error": rows}, [None, "a", "b", "a", "b"], [False] * 5)
    one = crossed_means([rows[[1, 3]], rows[[2, 4]]], listed=[False, False])
    assert frame["mean_error"].tolist()[1:] == [one[0].mean, one[1].mean] * 2
    assert frame["mean_error_high"].tolist()[1:] == [one[0].high, one[1].high] * 2
    assert frame.iloc[0].isna().all()


def test_both_sources_are_covered_where_draws_alone_are_not() -> None:
    """Crossed random effects, nominal 95 %; the table in docs/statistics.md has more sizes."""
    rng = np.random.default_rng(9)
    level = -2 + rng.normal(0, 1, 10**6) + rng.normal(0, 2, 10**6)
    true = (1 / (1 + np.exp(-level))).mean()
    both = alone = 0
    for seed in range(120):
        block = table(30, 60, 100 + seed)
        (found,) = crossed_means([block], listed=[False], resamples=400, seed=seed)
        both += found.low <= true <= found.high
        over_draws = mean_band(block.mean(1), resamples=400, seed=seed).row(0)
        alone += over_draws.low <= true <= over_draws.high
    assert both / 120 > 0.88
    assert alone / 120 < 0.83
