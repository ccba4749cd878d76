"""The explained share against its formula, and its interval against resamples drawn one by one."""

from __future__ import annotations

import numpy as np
import pytest

from resanalysis.statistics.explained import explained_variance


def test_it_is_one_less_what_is_left() -> None:
    rng = np.random.default_rng(0)
    measured = rng.normal(0, 1, (12, 1)) + rng.normal(0, 1, (12, 50))
    predicted = 0.8 * measured + rng.normal(0, 0.5, (12, 50))
    found = explained_variance(measured, predicted, seed=1)
    m, p = measured.mean(1), predicted.mean(1)
    assert found.mean == pytest.approx(1 - ((m - p) ** 2).sum() / ((m - m.mean()) ** 2).sum())
    shares = []
    for _ in range(2000):
        some = rng.integers(0, 50, 50)
        m, p = measured[:, some].mean(1), predicted[:, some].mean(1)
        shares.append(1 - ((m - p) ** 2).sum() / ((m - m.mean()) ** 2).sum())
    assert [found.low, found.high] == pytest.approx(np.quantile(shares, [0.025, 0.975]), abs=0.02)


def test_the_measured_explains_itself_and_a_bad_guess_less_than_nothing() -> None:
    measured = np.arange(12.0).reshape(4, 3)
    assert explained_variance(measured, measured) == (1, 1, 1)
    assert explained_variance(measured, measured + 100).mean < 0
    assert np.isnan(explained_variance(np.ones((4, 3)), np.ones((4, 3))).mean)
