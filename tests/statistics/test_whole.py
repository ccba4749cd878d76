"""The bootstrap of quantities that are no means, on quantities that are, whose intervals are known."""

from __future__ import annotations

import numpy as np
import pytest

from resanalysis.statistics.bootstrap import Floats, resampled
from resanalysis.statistics.crossed import crossed_columns
from resanalysis.statistics.whole import Statistic, redrawn, redrawn_columns


def mean_of(row: Floats) -> Statistic:
    return lambda weights: {"mean": weights @ row / weights.sum(1)}


def test_of_means_paired_on_the_same_draws() -> None:
    values = np.random.default_rng(0).normal(0, 1, (3, 40))
    values[2] = values[0] + 0.5  # always the same above the first
    found = redrawn([mean_of(row) for row in values], 40, resamples=400, seed=1)["mean"]
    np.testing.assert_allclose(found.value, values.mean(1))
    weights = np.concatenate(list(resampled(40, resamples=400, seed=1)))
    np.testing.assert_allclose(found.drawn, weights @ values.T / 40)
    band = found.bands()
    assert (band.low < band.mean).all()
    assert (band.mean < band.high).all()
    changes = found.changes()
    assert changes.row(0) == (0, 0, 0)
    np.testing.assert_allclose([end[2] for end in changes], 0.5)
    assert changes.low[1] < changes.high[1]


def test_a_biased_quantity_is_corrected() -> None:
    """The largest of a sample: resamples never exceed it, and the interval must reach up to it."""
    row = np.sort(np.random.default_rng(0).normal(0, 1, 30))

    def largest(weights: Floats) -> dict[str, Floats]:
        return {"largest": np.array([row[times > 0].max() for times in weights])}

    found = redrawn([largest], 30, resamples=1000)["largest"].bands()
    assert found.high[0] == row[-1]
    assert found.low[0] <= row[-2]  # the percentile interval ends there too, and begins below


def test_one_example_has_no_interval() -> None:
    found = redrawn([mean_of(np.ones(1))], 1, resamples=50)["mean"]
    assert np.isnan(found.bands().low).all()
    columns = redrawn_columns({"mean": redrawn([mean_of(np.ones(1))] * 2, 1, resamples=5)["mean"]},
                              [0, 1], ["a", "a"], [False, False])  # fmt: skip
    assert np.isnan(columns["mean_mean_low"]).all()


@pytest.mark.parametrize("listed", [False, True])
def test_draws_of_networks_as_for_means_of_examples(listed: bool) -> None:
    values = np.random.default_rng(0).normal(0, 1, (1, 50)) + np.random.default_rng(1).normal(
        0, 0.3, (12, 50)
    )
    groups = [None, *["a"] * 5, *["b"] * 6]
    plain = crossed_columns({"mean": values}, groups, [listed] * 12, seed=0)
    found = redrawn([mean_of(row) for row in values], 50, resamples=2000, seed=0)
    whole = redrawn_columns(found, range(12), groups, [listed] * 12, seed=0)
    assert list(whole) == list(plain)
    np.testing.assert_allclose(whole["mean_mean"], plain["mean_mean"])
    np.testing.assert_allclose(whole["mean_mean_se_draws"], plain["mean_mean_se_draws"])
    for name in ("low", "high", "se", "se_examples"):
        close = np.abs(whole[f"mean_mean_{name}"] - plain[f"mean_mean_{name}"])[1:]
        assert (close < 0.15 * plain["mean_mean_se"][1:]).all()
