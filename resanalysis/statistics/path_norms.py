"""Intervals and summaries of what was measured along paths; numbers in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from resanalysis.statistics.bootstrap import Interval, bootstrap

Floats = NDArray[np.float64]


def relative_error(values: Floats) -> float:
    """Standard error of the mean of (M,) over the mean; infinite for a single value."""
    mean = float(values.mean())
    if len(values) < 2:
        return float("inf")
    if mean == 0:
        return 0.0
    return float(values.std(ddof=1) / np.sqrt(len(values)) / mean)


def root_pseudo_values(squares: Floats) -> Floats:
    """Pseudo-values (R, K, N) whose mean over repetitions estimates √(expected square).

    The root of a mean of R estimates is too low by a term in 1/R, which the jackknife takes away.

    Parameters
    ----------
    squares : (R, K, N), unbiased estimates by repetition, length and image, R ≥ 2.

    Source: Quenouille 1956; Tukey 1958.
    """
    repetitions = len(squares)
    total = squares.sum(axis=0)
    whole = np.sqrt(total / repetitions)
    others = np.sqrt(np.maximum(total - squares, 0) / (repetitions - 1))
    return repetitions * whole - (repetitions - 1) * others


def decay_factor(lengths: Floats, norms: Floats, *, level: float = 0.95, seed: int = 0) -> Interval:
    """Factor by which a norm shrinks with each unit entered: exp of the slope of log mean norm on length.

    Ordinary least squares; the interval is a percentile bootstrap over images, which are drawn with all their
    lengths. NaN below three lengths, and the ends for a single image.

    Parameters
    ----------
    lengths : (K,); give those that carry the gradient, since the curve bends where there is nothing left.
    norms : (K, N) of each image.

    Source: the exponential decrease of Veit et al. 2016, Figure 6b; Efron 1979.
    """
    means = norms.mean(axis=1)
    fitted = np.isfinite(means) & (means > 0)
    if fitted.sum() < 3:
        return Interval(np.nan, np.nan, np.nan)
    centred = lengths[fitted] - lengths[fitted].mean()

    def factor(curves: Floats) -> Floats:
        return np.exp(centred @ np.log(curves) / (centred @ centred))

    def of_draws(weights: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):  # a draw without any gradient
            return factor(norms[fitted] @ weights.T / norms.shape[1])[:, None]

    return bootstrap(of_draws, norms.shape[1], level=level, seed=seed).row(0)


def mean_length(contributions: Floats) -> float:
    """Mean length, each weighted with its contribution; NaN if they sum to nothing."""
    total = float(contributions.sum())
    if not np.isfinite(total) or total == 0:
        return float("nan")
    return float(np.arange(len(contributions)) @ contributions / total)


def times(value: float, count: int) -> float:
    """``value · count`` for whole numbers beyond the range of floats."""
    if not math.isfinite(value):
        return value
    try:
        # Of a thousand units and more the count alone is beyond floats, where the product is not.
        return float(Fraction(value) * count)
    except OverflowError:
        return math.inf


def root_of_count(count: int) -> float:
    """Square root of a whole number of up to 590 digits, the paths of a 1202-layer network and more."""
    return float(math.isqrt(count * 10**20)) / 1e10


def in_words(numbers: Sequence[int]) -> str:
    """``3, 5 to 7`` for 3, 5, 6, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]} to {r[-1]}" for r in runs)
