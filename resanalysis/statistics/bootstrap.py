"""The one bootstrap: how often each example is drawn, and what a statistic of them then becomes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from resanalysis.errors import ResanalysisError

Floats = NDArray[np.float64]

RESAMPLES = 2000
"""Of every interval, where nothing else is said."""
# Resamples at a time: what keeps their weights small for data sets of any usual size.
_AT_ONCE = 100


class Interval(NamedTuple):
    """A number with the ends of its interval."""

    mean: float
    low: float
    high: float


class Band(NamedTuple):
    """Numbers with the ends of their intervals, each (K,)."""

    mean: Floats
    low: Floats
    high: Floats

    def row(self, number: int) -> Interval:
        """One of them."""
        return Interval(float(self.mean[number]), float(self.low[number]), float(self.high[number]))


UNKNOWN = Interval(np.nan, np.nan, np.nan)


def resampled(
    n: int, *, resamples: int = RESAMPLES, seed: int | Sequence[int] = 0
) -> Iterator[Floats]:
    """How often each of ``n`` examples occurs in a sample drawn with replacement.

    Weights take the place of indices because every statistic here is a sum over examples: one product of
    matrices then serves all rows of a table, and all rows see the same resamples.

    Yields
    ------
    (≤ 100, n) whole numbers, each row summing to ``n``; ``resamples`` rows in all.
    """
    generator = np.random.default_rng(seed)
    for done in range(0, resamples, _AT_ONCE):
        rows = min(_AT_ONCE, resamples - done)
        chosen = generator.integers(0, n, (rows, n))
        # Each row counts in a stretch of n places of its own, so that one `bincount` does for all.
        places = chosen + n * np.arange(rows)[:, None]
        counts = np.bincount(places.ravel(), minlength=rows * n)
        yield counts.reshape(rows, n).astype(np.float64)


def bootstrap(
    statistic: Callable[[Floats], Floats],
    n: int,
    *,
    acceleration: Floats | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Band:
    """Statistics of ``n`` examples with their bootstrap intervals; none (NaN) for a single example.

    Parameters
    ----------
    statistic : of weights (R, n), how often each example occurs, to (R, K); NaN where a resample does not
        have it. Such resamples are left out; where they are more than ``1 − level`` of all, there is no
        interval.
    acceleration : (K,) of the BCa interval; the percentile interval if left out.

    Source: Efron 1979 (percentile); Efron 1987 (BCa).
    """
    estimate = statistic(np.ones((1, n)))[0]
    if n < 2:
        return Band(estimate, np.full_like(estimate, np.nan), np.full_like(estimate, np.nan))
    drawn = np.concatenate(
        [statistic(weights) for weights in resampled(n, resamples=resamples, seed=seed)]
    )
    return Band(estimate, *interval_ends(estimate, drawn, acceleration=acceleration, level=level))


def interval_ends(
    estimate: Floats, drawn: Floats, *, acceleration: Floats | None = None, level: float = 0.95
) -> tuple[Floats, Floats]:
    """Ends (K,) of the intervals of ``estimate`` (K,), from its values ``drawn`` (R, K) on resamples."""
    low, high = np.full_like(estimate, np.nan), np.full_like(estimate, np.nan)
    tails = np.array([0.5 - level / 2, 0.5 + level / 2])
    for column in np.flatnonzero(np.isfinite(estimate)):
        values = drawn[:, column]
        values = values[~np.isnan(values)]
        if len(values) < level * len(drawn):
            continue
        at = tails
        if acceleration is not None:
            at = _bca_tails(estimate[column], values, float(acceleration[column]), tails)
        low[column], high[column] = np.quantile(values, at)
    return low, high


def _bca_tails(estimate: float, drawn: Floats, acceleration: float, tails: Floats) -> Floats:
    """The quantiles of the resamples that Efron's correction for bias and skewness takes."""
    # Resamples equal to the estimate count half: of 0 and 1 there are many. Equal up to rounding: the last
    # bit of a sum depends on how many examples ran at a time, and must not move an interval.
    rounding = 1e-12 * max(abs(estimate), float(np.abs(drawn).max(initial=0)))
    below = float((drawn < estimate - rounding).mean() + (drawn <= estimate + rounding).mean()) / 2
    # All resamples on one side of the estimate: the bias would be infinite, and cannot be corrected.
    if not 0 < below < 1:
        return tails
    bias = float(stats.norm.ppf(below))
    shifted = bias + stats.norm.ppf(tails)
    # Efron 1987: Φ(z₀ + (z₀ + z) / (1 − a (z₀ + z))), z the normal quantile of a tail, z₀ the bias, a the
    # acceleration.
    return np.asarray(stats.norm.cdf(bias + shifted / (1 - acceleration * shifted)))


def mean_band(
    values: ArrayLike, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Band:
    """Means (K,) over the second axis of (K, N) with BCa intervals; NaN values are left out.

    The same resamples serve every row, so that rows can be compared. An end lies between the smallest and
    the largest value: a mean of losses has no negative one.

    Source: Efron 1987; the acceleration of a mean in closed form is that of Efron and Tibshirani 1993, §14.3.
    """
    data = np.atleast_2d(np.asarray(values, dtype=np.float64))
    there = ~np.isnan(data)
    filled = np.where(there, data, 0.0)
    known = there.astype(np.float64)
    whole = bool(there.all())

    def means(weights: Floats) -> Floats:
        # NaN would spread through the product. So values are 0 there, and how many were drawn is counted
        # beside.
        total = weights.sum(1, keepdims=True) if whole else weights @ known.T
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights @ filled.T) / total

    with np.errstate(invalid="ignore", divide="ignore"):
        # a = Σ d³ / 6 (Σ d²)^1.5 of the deviations d: for a mean the jackknife has a closed form.
        off = np.where(there, data - (filled.sum(1) / known.sum(1))[:, None], 0.0)
        skew = (off**3).sum(1) / (6 * (off**2).sum(1) ** 1.5)
    acceleration = np.where(np.isfinite(skew), skew, 0.0)  # equal values have no skewness
    return bootstrap(
        means,
        data.shape[1],
        acceleration=acceleration,
        level=level,
        resamples=resamples,
        seed=seed,
    )


def ratio_band(
    top: ArrayLike,
    bottom: ArrayLike,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Band:
    """Σ top / Σ bottom over the second axis, with percentile intervals; both are drawn together.

    A resample whose sum below is not positive has no ratio.

    Parameters
    ----------
    top : (K, N).
    bottom : (N,), such as the number of tokens of each text.
    """
    # One product for both: a ratio of equal sums is then 1 to the bit.
    both = np.vstack([np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)])

    def ratios(weights: Floats) -> Floats:
        sums = weights @ both.T
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(sums[:, -1:] > 0, sums[:, :-1] / sums[:, -1:], np.nan)

    return bootstrap(ratios, both.shape[1], level=level, resamples=resamples, seed=seed)


def bootstrap_quantile(
    values: ArrayLike,
    at: float,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """A quantile (``at`` 0.5: the median) with its percentile interval; its first field is the quantile.

    Parameters
    ----------
    values : (N,).
    """
    data = np.asarray(values, dtype=np.float64)
    if len(data) < 1:
        raise ResanalysisError("a quantile needs at least one value, got none")

    def quantiles(weights: Floats) -> Floats:
        samples = [np.repeat(data, times) for times in weights.astype(int)]
        return np.quantile(np.stack(samples), at, axis=1)[:, None]

    return bootstrap(quantiles, len(data), level=level, resamples=resamples, seed=seed).row(0)
