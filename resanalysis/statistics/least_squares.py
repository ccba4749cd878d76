"""The affine map that fits best, from sums over examples: no more of them need be held than come at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Sums of squares square the condition: directions below it are rounding of the others.
_ROUNDING = 1e-11


@dataclass(frozen=True, eq=False)
class Affine:
    """``x ↦ x · weight + bias``.

    Attributes
    ----------
    weight : (D, K).
    bias : (K,).
    """

    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        """Of rows (M, D), rows (M, K)."""
        return x @ self.weight + self.bias


def product_sums(x: Floats, y: Floats) -> Floats:
    """The sums (1 + D, 1 + D + K) over rows of all products of (1, x) with (1, x, y).

    They add up over blocks of rows, and hold what ``best_affine`` needs: the normal equations.

    Parameters
    ----------
    x : (M, D).
    y : (M, K).
    """
    known = np.hstack([np.ones((len(x), 1)), np.asarray(x, dtype=np.float64)])
    return known.T @ np.hstack([known, np.asarray(y, dtype=np.float64)])


def best_affine(sums: Floats) -> Affine:
    """The affine map with the least sum of squared errors; of several such maps, that of least weight.

    The normal equations are solved in double precision, about the means and in units of each column's spread,
    so that they are as well conditioned as they can be.

    Parameters
    ----------
    sums : of ``product_sums``, added up over all rows.

    Source: Gauss 1809; the least-norm solution as in ``numpy.linalg.lstsq``.
    """
    width = len(sums) - 1
    rows, total = sums[0, 0], sums[0, 1:]
    # Σ (x − x̄)(y − ȳ) = Σ xy − Σx Σy / M.
    about = sums[1:, 1:] - np.outer(total[:width], total) / rows
    gram, cross = about[:, :width], about[:, width:]
    # What is left of a constant column is rounding of its size, and no spread.
    constant = np.diag(gram) <= _ROUNDING * np.diag(sums[1:, 1:])
    spread = np.where(constant, np.inf, np.sqrt(np.where(constant, 1.0, np.diag(gram))))
    scaled = gram / np.outer(spread, spread)
    weight = np.linalg.lstsq(scaled, cross / spread[:, None], rcond=_ROUNDING)[0] / spread[:, None]
    mean = total / rows
    return Affine(weight, mean[width:] - mean[:width] @ weight)


def added_up(blocks: Sequence[Floats]) -> Floats:
    """Sums of several blocks of rows."""
    return np.sum(np.stack(blocks), axis=0)
