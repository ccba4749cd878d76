"""Intervals and tests for paired measurements on the same examples; no plotting, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A mean with the ends of its interval."""

    mean: float
    low: float
    high: float


def wilson(successes: ArrayLike, n: int, level: float = 0.95) -> tuple[Floats, Floats]:
    """Wilson's score interval of a rate.

    Parameters
    ----------
    successes : counts, any shape, each out of ``n``.

    Returns
    -------
    low, high : of the same shape; within [0, 1], and of positive width also at 0 and n.

    Source: Wilson 1927; recommended for small counts by Brown, Cai and DasGupta 2001.
    """
    if n < 1:
        raise ValueError(f"a rate needs at least one trial, got n = {n}")
    rate = np.asarray(successes, dtype=np.float64) / n
    z = float(stats.norm.ppf(0.5 + level / 2))
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return np.clip(middle - half, 0.0, 1.0), np.clip(middle + half, 0.0, 1.0)


def paired_difference(first: ArrayLike, second: ArrayLike, level: float = 0.95) -> Interval:
    """Mean of ``first − second`` over the same examples, with its t interval.

    Parameters
    ----------
    first, second : (N,) with N ≥ 2.
    """
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    n = len(difference)
    if n < 2:
        raise ValueError(f"an interval of a mean needs at least 2 examples, got {n}")
    mean = float(difference.mean())
    half = float(stats.t.ppf(0.5 + level / 2, n - 1) * difference.std(ddof=1) / np.sqrt(n))
    return Interval(mean, mean - half, mean + half)


def paired_rate_difference(first: ArrayLike, second: ArrayLike, level: float = 0.95) -> Interval:
    """Difference of two rates measured on the same examples, with an adjusted Wald interval.

    Half a pair is added to each cell of the 2×2 table before the interval is taken, so that it keeps a
    width where no example changed; the mean is the plain difference.

    Parameters
    ----------
    first, second : (N,) of 0 and 1.

    Source: Agresti and Min 2005, "Simple improved confidence intervals for comparing matched
    proportions", Statistics in Medicine 24.
    """
    one = np.asarray(first) != 0
    other = np.asarray(second) != 0
    n = len(one)
    if n < 1:
        raise ValueError("a difference of rates needs at least one example, got none")
    gained = float(np.sum(one & ~other)) + 0.5
    lost = float(np.sum(~one & other)) + 0.5
    total = n + 2.0
    middle = (gained - lost) / total
    variance = (gained + lost - (gained - lost) ** 2 / total) / total**2
    half = float(stats.norm.ppf(0.5 + level / 2)) * np.sqrt(variance)
    mean = float(one.mean() - other.mean())
    return Interval(mean, min(mean, max(-1.0, middle - half)), max(mean, min(1.0, middle + half)))


def mcnemar_exact(first: ArrayLike, second: ArrayLike) -> float:
    """Two-sided exact p-value that two classifiers err equally often on the same examples.

    Only examples on which exactly one of them errs count; under the null each is as likely the one as
    the other. Source: McNemar 1947, with the binomial distribution in place of χ².
    """
    one, other = np.asarray(first) != 0, np.asarray(second) != 0
    gained, lost = int(np.sum(one & ~other)), int(np.sum(~one & other))
    if gained + lost == 0:
        return 1.0
    return float(stats.binomtest(gained, gained + lost, 0.5).pvalue)


def holm(p_values: ArrayLike) -> Floats:
    """p-values adjusted for the number of tests by Holm's step-down rule; NaN stays NaN.

    Source: Holm 1979.
    """
    values = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full_like(values, np.nan)
    tested = np.flatnonzero(~np.isnan(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    return adjusted


def bootstrap_mean(
    values: ArrayLike, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Mean over the first axis with its percentile bootstrap interval.

    Parameters
    ----------
    values : (N,).
    """
    data = np.asarray(values, dtype=np.float64)
    if len(data) < 1:
        raise ValueError("a mean needs at least one value, got none")
    generator = np.random.default_rng(seed)
    means = np.concatenate(
        [
            data[generator.integers(0, len(data), (min(200, resamples - done), len(data)))].mean(1)
            for done in range(0, resamples, 200)
        ]
    )
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(data.mean()), float(low), float(high))


class Trend(NamedTuple):
    """A smooth curve with its pointwise band; each field is an array over ``x``."""

    x: Floats
    y: Floats
    low: Floats
    high: Floats


def smooth_trend(
    x: ArrayLike,
    y: ArrayLike,
    *,
    at: ArrayLike | None = None,
    bandwidth: float | None = None,
    level: float = 0.95,
    resamples: int = 300,
    seed: int = 0,
) -> Trend:
    """Local linear regression with a Gaussian kernel, and its bootstrap band over the points.

    Parameters
    ----------
    x, y : (N,), N ≥ 3.
    at : where to evaluate; 60 places over the range of ``x`` if left out.
    bandwidth : standard deviation of the kernel, a tenth of the range of ``x`` if left out.

    Source: Cleveland and Devlin 1988 (local regression); Efron 1979 (resampling of pairs).
    """
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(xs) < 3 or np.ptp(xs) == 0:
        raise ValueError("a trend needs at least 3 points at different places")
    grid = np.linspace(xs.min(), xs.max(), 60) if at is None else np.asarray(at, dtype=np.float64)
    width = np.ptp(xs) / 10 if bandwidth is None else bandwidth
    generator = np.random.default_rng(seed)
    curve = _local_linear(xs, ys, np.ones((1, len(xs))), grid, width)[0]
    weights = generator.multinomial(len(xs), np.full(len(xs), 1 / len(xs)), size=resamples)
    curves = _local_linear(xs, ys, weights.astype(np.float64), grid, width)
    low, high = np.nanquantile(curves, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    return Trend(grid, curve, low, high)


def _local_linear(x: Floats, y: Floats, weights: Floats, grid: Floats, width: float) -> Floats:
    """Fits (resamples, grid) of lines weighted by a kernel around each grid point."""
    offset = x[None, :] - grid[:, None]
    kernel = np.exp(-0.5 * (offset / width) ** 2)
    s0 = weights @ kernel.T
    s1 = weights @ (kernel * offset).T
    s2 = weights @ (kernel * offset**2).T
    t0 = weights @ (kernel * y).T
    t1 = weights @ (kernel * offset * y).T
    # A ridge far below the data's own scale keeps a fit on one lone point finite.
    determinant = s0 * s2 - s1**2
    flat = determinant <= 1e-9 * s0**2 * width**2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(flat, t0 / s0, (s2 * t0 - s1 * t1) / determinant)


def rank_correlation(
    x: ArrayLike,
    y: ArrayLike,
    method: str = "kendall",
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Kendall's or Spearman's correlation with a percentile bootstrap interval over the pairs."""
    measures = {"kendall": stats.kendalltau, "spearman": stats.spearmanr}
    if method not in measures:
        raise ValueError(f"no rank correlation {method!r}; there are kendall and spearman")
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    generator = np.random.default_rng(seed)
    drawn: list[float] = []
    for _ in range(resamples):
        chosen = generator.integers(0, len(xs), len(xs))
        if len(set(xs[chosen])) > 1 and len(set(ys[chosen])) > 1:
            drawn.append(float(measures[method](xs[chosen], ys[chosen]).statistic))
    low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2]) if drawn else (np.nan,) * 2
    return Interval(float(measures[method](xs, ys).statistic), float(low), float(high))


def quantiles(values: Sequence[float] | Floats, at: Sequence[float]) -> list[float]:
    """Quantiles by linear interpolation."""
    return [float(value) for value in np.quantile(np.asarray(values, dtype=np.float64), at)]
