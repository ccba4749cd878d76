"""Intervals and tests for paired measurements on the same examples; no plotting, no torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from resanalysis.errors import ResanalysisError

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
        raise ResanalysisError(f"a rate needs at least one trial, got n = {n}")
    rate = np.asarray(successes, dtype=np.float64) / n
    z = float(stats.norm.ppf(0.5 + level / 2))
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return np.clip(middle - half, 0.0, 1.0), np.clip(middle + half, 0.0, 1.0)


def mean_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Mean with its t interval.

    Parameters
    ----------
    values : (N,) with N ≥ 2.
    """
    data = np.asarray(values, dtype=np.float64)
    n = len(data)
    if n < 2:
        raise ResanalysisError(f"an interval of a mean needs at least 2 examples, got {n}")
    mean = float(data.mean())
    half = float(stats.t.ppf(0.5 + level / 2, n - 1) * data.std(ddof=1) / np.sqrt(n))
    return Interval(mean, mean - half, mean + half)


def paired_difference(first: ArrayLike, second: ArrayLike, level: float = 0.95) -> Interval:
    """Mean of ``first − second`` over the same examples, with its t interval.

    Parameters
    ----------
    first, second : (N,) with N ≥ 2.
    """
    return mean_interval(_differences(first, second), level)


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
        raise ResanalysisError("a difference of rates needs at least one example, got none")
    gained = float(np.sum(one & ~other)) + 0.5
    lost = float(np.sum(~one & other)) + 0.5
    total = n + 2.0
    middle = (gained - lost) / total
    variance = (gained + lost - (gained - lost) ** 2 / total) / total**2
    half = float(stats.norm.ppf(0.5 + level / 2) * np.sqrt(variance))
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


def wilcoxon_p(first: ArrayLike, second: ArrayLike) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test on paired values; 1 where none differ.

    For scores that are not 0 or 1, such as a loss. NaN if a value is NaN. Source: Wilcoxon 1945.
    """
    difference = _differences(first, second)
    if np.isnan(difference).any():
        return float("nan")
    if not difference.any():
        return 1.0
    return float(np.asarray(stats.wilcoxon(difference))[1])


def _differences(first: ArrayLike, second: ArrayLike) -> Floats:
    return np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)


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
    values: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean over the first axis with its percentile bootstrap interval.

    Parameters
    ----------
    values : (N,).
    clusters : (N,) of labels; values of one label (tokens of one document) are drawn together.

    Source: Efron 1979.
    """
    data = np.asarray(values, dtype=np.float64)
    if len(data) < 1:
        raise ResanalysisError("a mean needs at least one value, got none")
    groups = (
        np.arange(len(data)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    )
    sizes, sums = np.bincount(groups), np.bincount(groups, weights=data)
    means = np.concatenate(
        [
            sums[chosen].sum(1) / sizes[chosen].sum(1)
            for chosen in _resampled(len(sizes), resamples, seed)
        ]
    )
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(data.mean()), float(low), float(high))


def bootstrap_quantile(
    values: ArrayLike, at: float, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """A quantile (``at`` 0.5: the median) with its percentile bootstrap interval; its first field is it.

    Parameters
    ----------
    values : (N,).
    """
    data = np.asarray(values, dtype=np.float64)
    if len(data) < 1:
        raise ResanalysisError("a quantile needs at least one value, got none")
    drawn = np.concatenate(
        [np.quantile(data[chosen], at, axis=1) for chosen in _resampled(len(data), resamples, seed)]
    )
    low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(np.quantile(data, at)), float(low), float(high))


def _resampled(n: int, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Indices (≤ 200, n) drawn with replacement, as often as needed: a bounded amount of memory."""
    generator = np.random.default_rng(seed)
    for done in range(0, resamples, 200):
        yield generator.integers(0, n, (min(200, resamples - done), n))


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
        raise ResanalysisError("a trend needs at least 3 points at different places")
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
    method: Literal["kendall", "spearman"] = "kendall",
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Kendall's τ_b or Spearman's ρ, ties counted, with a percentile bootstrap interval over the pairs.

    Parameters
    ----------
    x, y : (N,), N ≥ 3; time and memory grow with N².

    Raises
    ------
    ResanalysisError : for another method, or too few pairs.

    Source: Kendall 1945 (ties); Efron 1979 (resampling of pairs).
    """
    measures = {"kendall": _kendall, "spearman": _spearman}
    if method not in measures:
        raise ResanalysisError(f"no rank correlation {method!r}; there are kendall and spearman")
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    n = len(xs)
    if n < 3 or len(ys) != n:
        raise ResanalysisError(
            f"a rank correlation needs at least 3 pairs, got {n} and {len(ys)} values"
        )
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)
    found = float(measures[method](xs, ys, np.ones((1, n)))[0])
    drawn = measures[method](xs, ys, weights)
    drawn = drawn[~np.isnan(drawn)]  # resamples in which all values tie
    if np.isnan(found) or not len(drawn):
        return Interval(found, np.nan, np.nan)
    low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(found, float(low), float(high))


def _kendall(x: Floats, y: Floats, weights: Floats) -> Floats:
    """τ_b of samples in which pair i occurs ``weights[:, i]`` times: (resamples,)."""
    sx, sy = np.sign(x[:, None] - x), np.sign(y[:, None] - y)

    def total(signs: Floats) -> Floats:
        return np.einsum("rn,rn->r", weights @ signs, weights)

    with np.errstate(invalid="ignore", divide="ignore"):
        return total(sx * sy) / np.sqrt(total(sx * sx) * total(sy * sy))


def _spearman(x: Floats, y: Floats, weights: Floats) -> Floats:
    """ρ of samples in which pair i occurs ``weights[:, i]`` times: (resamples,)."""
    n = weights.sum(1, keepdims=True)

    def centred_ranks(values: Floats) -> Floats:
        below = weights @ (values[:, None] < values)
        tied = weights @ (values[:, None] == values)
        return below + (tied + 1) / 2 - (n + 1) / 2

    rx, ry = centred_ranks(x), centred_ranks(y)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt((weights * rx * rx).sum(1) * (weights * ry * ry).sum(1))
        return (weights * rx * ry).sum(1) / spread
