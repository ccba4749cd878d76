"""Sign flips against all of them written out, and false discoveries against the rule as it is stated."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from resanalysis.statistics.sign_flip import sign_flip_p


def test_few_examples_are_flipped_in_every_way() -> None:
    values = np.random.default_rng(0).normal(0.4, 1, (7, 3))
    expected = []
    for column in values.T:
        sums = [abs(np.dot(signs, column)) for signs in product((1, -1), repeat=7)]
        expected.append(np.mean([size >= abs(column.sum()) - 1e-12 for size in sums]))
    np.testing.assert_allclose(sign_flip_p(values), expected)


def test_many_examples_are_flipped_at_random() -> None:
    values = np.random.default_rng(1).normal(0.15, 1, (60, 4))
    found = sign_flip_p(values, seed=2)
    student = stats.ttest_1samp(values, 0).pvalue
    np.testing.assert_allclose(found, student, atol=0.02)
    reference = stats.permutation_test(
        (values[:, 0],), np.mean, permutation_type="samples", n_resamples=9999, rng=0
    )
    assert found[0] == pytest.approx(reference.pvalue, abs=0.02)
    np.testing.assert_array_equal(found, sign_flip_p(values, seed=2))
    assert sign_flip_p(values + 5, resamples=99)[0] == 0.01  # never 0


def test_differences_that_are_all_zero_say_nothing() -> None:
    values = np.zeros((30, 2))
    values[:, 1] = 1
    assert sign_flip_p(values).tolist() == [1.0, 0.0001]
    values[3, 0] = np.nan
    found = sign_flip_p(values)
    assert np.isnan(found[0])
    assert found[1] == 0.0001


def test_the_null_is_rejected_as_often_as_stated() -> None:
    values = np.random.default_rng(3).exponential(1, (40, 2000)) * np.where(
        np.random.default_rng(4).random((40, 2000)) < 0.5, 1, -1
    )
    rejected = (sign_flip_p(values, resamples=999) < 0.05).mean()
    assert rejected == pytest.approx(0.05, abs=0.015)
