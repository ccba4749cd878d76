"""The closed form against numpy's own least squares on all rows at once."""

from __future__ import annotations

import numpy as np
import pytest

from resanalysis.statistics.least_squares import best_affine, product_sums


def by_numpy(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Predictions of ``numpy.linalg.lstsq`` with a column of ones."""
    known = np.hstack([x, np.ones((len(x), 1))])
    return known @ np.linalg.lstsq(known, y, rcond=None)[0]


@pytest.mark.parametrize("shift", [0.0, 30.0])
def test_it_is_the_solution_of_lstsq(shift: float) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 12)) @ rng.normal(size=(12, 12)) + shift
    x[:, 3] *= 1e-3
    y = rng.normal(size=(200, 5)) + x[:, :5]
    blocks = [product_sums(x[at : at + 64], y[at : at + 64]) for at in range(0, 200, 64)]
    found = best_affine(np.sum(blocks, axis=0))
    known = np.hstack([x, np.ones((200, 1))])
    expected = np.linalg.lstsq(known, y, rcond=None)[0]
    np.testing.assert_allclose(found.weight, expected[:-1], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found.bias, expected[-1], rtol=1e-6, atol=1e-6)


def test_columns_that_are_constant_or_copies_do_no_harm() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(80, 6))
    x[:, 2], x[:, 4], x[:, 5] = 0.0, 7.0, x[:, 1] * 2
    y = rng.normal(size=(80, 3))
    found = best_affine(product_sums(x, y))
    np.testing.assert_allclose(found(x), by_numpy(x, y), atol=1e-9)
    assert (found.weight[[2, 4]] == 0).all()


def test_with_fewer_rows_than_columns_it_meets_every_row() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(5, 9)), rng.normal(size=(5, 2))
    np.testing.assert_allclose(best_affine(product_sums(x, y))(x), y, atol=1e-6)
