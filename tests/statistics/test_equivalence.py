"""Equivalence against its formula written out, against statsmodels, and over many draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from resanalysis.statistics.equivalence import equivalence

ONE, OTHER = [0.0610, 0.0604, 0.0617], [0.0596, 0.0601, 0.0588, 0.0599]


def test_it_is_the_formula_written_out() -> None:
    margin = 0.004
    n, m = len(ONE), len(OTHER)
    mean = sum(ONE) / n - sum(OTHER) / m
    a = sum((x - sum(ONE) / n) ** 2 for x in ONE) / (n - 1) / n
    b = sum((x - sum(OTHER) / m) ** 2 for x in OTHER) / (m - 1) / m
    error = math.sqrt(a + b)
    freedom = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (m - 1))
    above = stats.t.sf((mean + margin) / error, freedom)
    below = stats.t.cdf((mean - margin) / error, freedom)
    half = stats.t.ppf(0.95, freedom) * error
    found = equivalence(ONE, OTHER, margin)
    assert found.difference == pytest.approx(mean)
    assert found.p_value == pytest.approx(max(above, below))
    assert (found.low, found.high) == pytest.approx((mean - half, mean + half))
    assert (found.seeds_one, found.seeds_other) == (3, 4)


def test_it_is_that_of_statsmodels() -> None:
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    for margin in (0.001, 0.002, 0.004):
        p_value, *_ = weightstats.ttost_ind(ONE, OTHER, -margin, margin, usevar="unequal")
        assert equivalence(ONE, OTHER, margin).p_value == pytest.approx(p_value)


def test_equal_exactly_if_the_interval_is_inside_the_margin() -> None:
    for margin in np.linspace(0.0005, 0.005, 19):
        found = equivalence(ONE, OTHER, float(margin))
        assert found.equivalent == (-margin < found.low and found.high < margin)
    turned = equivalence(OTHER, ONE, 0.004)
    assert turned.difference == pytest.approx(-equivalence(ONE, OTHER, 0.004).difference)


def test_few_seeds_that_do_not_differ_significantly_are_not_shown_to_be_equal() -> None:
    one, other = [0.060, 0.070, 0.050], [0.062, 0.052, 0.072]
    assert stats.ttest_ind(one, other).pvalue > 0.8
    assert not equivalence(one, other, 0.005).equivalent


def test_at_the_margin_it_errs_in_one_of_twenty() -> None:
    """Two means that differ by exactly the margin: called equal in at most α of the cases."""
    random = np.random.default_rng(0)
    wrong = [
        equivalence(random.normal(1, 1, 8), random.normal(0, 1, 8), 1.0, alpha=0.05).equivalent
        for _ in range(800)
    ]
    assert np.mean(wrong) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / len(wrong))


@pytest.mark.parametrize(
    ("one", "other", "margin", "message"),
    [
        ([1.0], [1.0, 2.0], 0.1, "two seeds or more of each, got 1 and 2"),
        ([1.0, 2.0], [1.0, 2.0], 0.0, "above 0, got 0"),
        ([1.0, 1.0], [2.0, 2.0], 0.1, "all seeds gave the same number"),
    ],
)
def test_what_cannot_be_tested(
    one: list[float], other: list[float], margin: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        equivalence(one, other, margin)
