"""Tests and corrections against sums and loops."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from resanalysis.statistics.significance import false_discovery, holm, mcnemar_exact, wilcoxon_p


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


@settings(max_examples=20, deadline=None)  # statsmodels collects garbage in every call
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_equals_the_step_down_loop(values: list[float]) -> None:
    assert holm(values).tolist() == pytest.approx(holm_by_hand(values))


def test_holm_leaves_nan_out() -> None:
    assert holm([0.01, np.nan, 0.02]).tolist() == pytest.approx([0.02, np.nan, 0.02], nan_ok=True)


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


def test_false_discovery_equals_the_step_up_loop() -> None:
    values = [0.01, 0.04, np.nan, 0.03, 0.2]
    found = false_discovery(values)
    known = sorted(value for value in values if value == value)
    expected = {p: min(q * 4 / (rank + 1) for rank, q in enumerate(known) if q >= p) for p in known}
    for value, adjusted in zip(values, found, strict=True):
        assert np.isnan(adjusted) if np.isnan(value) else adjusted == pytest.approx(expected[value])
    assert np.isnan(false_discovery([np.nan])).all()
    assert np.isnan(holm([np.nan])).all()
