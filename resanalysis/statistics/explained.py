"""How much of what was measured a prediction explains."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resanalysis.statistics.intervals import Interval

Floats = NDArray[np.float64]


def explained_variance(
    measured: ArrayLike,
    predicted: ArrayLike,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Share of the variance between things that a prediction explains: 1 − Σ(m − p)² / Σ(m − m̄)².

    m and p are means over examples; nothing is fitted, so that the share is below 0 where the prediction is
    further off than the mean of all things. The interval is a percentile bootstrap over examples; their noise
    counts as unexplained.

    Parameters
    ----------
    measured, predicted : (K, N), of K things on the same N examples.

    Returns
    -------
    Interval : NaN where all things are alike.
    """
    of_each = np.asarray(measured, dtype=np.float64)
    foretold = np.asarray(predicted, dtype=np.float64)
    n = of_each.shape[1]
    generator = np.random.default_rng(seed)
    found = _share(of_each.mean(1), foretold.mean(1))
    drawn: list[Floats] = []
    for start in range(0, resamples, 100):
        # Examples are drawn once for both, so that what they have in common stays in common.
        weights = generator.multinomial(n, np.full(n, 1 / n), min(100, resamples - start)) / n
        drawn.append(_share(weights @ of_each.T, weights @ foretold.T))
    low, high = np.quantile(np.concatenate(drawn), [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(found), float(low), float(high))


def _share(measured: Floats, predicted: Floats) -> Floats:
    """Over the last axis."""
    spread = ((measured - measured.mean(-1, keepdims=True)) ** 2).sum(-1)
    left = ((measured - predicted) ** 2).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 0, 1 - left / spread, np.nan)
