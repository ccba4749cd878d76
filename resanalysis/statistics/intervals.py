"""Which interval a quantity has: one rule, by what the quantity is, for a whole table at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from resanalysis.errors import ResanalysisError
from resanalysis.statistics.bootstrap import UNKNOWN, Band, Floats, Interval, mean_band


def intervals_of(table: ArrayLike, *, level: float = 0.95, seed: int = 0) -> Band:
    """Mean of every row with its interval: Wilson's of rates, the BCa bootstrap of everything else.

    The rule looks at the whole table, so that no two rows of it get different kinds of interval. Either
    stays in the range of the values. A row of one example has no interval (NaN), but as a rate. Rows
    without values (NaN) have none.

    Parameters
    ----------
    table : (K, N), a quantity of K networks on the same N examples.
    """
    values = np.atleast_2d(np.asarray(table))
    known = ~np.isnan(values).all(axis=1)
    if not known.any() or not is_rate(values[known]):
        return mean_band(values, level=level, seed=seed)
    hits = values.sum(1, dtype=np.float64)  # NaN of a network that was not measured
    return Band(hits / values.shape[1], *wilson(hits, values.shape[1], level))


def paired_intervals(
    table: ArrayLike, base: ArrayLike, *, level: float = 0.95, seed: int = 0
) -> Band:
    """Mean difference of every row from ``base`` on the same examples, with its interval.

    Agresti and Min's of rates, the BCa bootstrap of the differences of everything else; for the whole table
    one and the same, as in ``intervals_of``.

    Parameters
    ----------
    table : (K, N).
    base : (N,), of the intact network.
    """
    values, intact = np.atleast_2d(np.asarray(table)), np.asarray(base)
    if not (is_rate(values) and is_rate(intact)):
        differences = values.astype(np.float64) - intact.astype(np.float64)
        return mean_band(differences, level=level, seed=seed)
    found = [paired_rate_difference(row, intact, level) for row in values]
    return Band(*(np.array(ends) for ends in zip(*found, strict=True)))


def paired_interval(
    first: ArrayLike, second: ArrayLike, *, level: float = 0.95, seed: int = 0
) -> Interval:
    """``paired_intervals`` of ``first − second``, (N,) each."""
    return paired_intervals(np.asarray(first)[None], second, level=level, seed=seed).row(0)


def is_rate(values: NDArray[np.generic]) -> bool:
    """Whether every value is 0 or 1: the mean is then a share of examples, and binomial."""
    return bool(np.isin(values, (0.0, 1.0)).all())


def unchanged(base: ArrayLike) -> Interval:
    """The difference of the intact network from itself: nothing, and known; NaN where it has no value."""
    return Interval(0.0, 0.0, 0.0) if np.isfinite(np.asarray(base)).all() else UNKNOWN


def changes_from_first(table: ArrayLike, *, seed: int = 0) -> Band:
    """``paired_intervals`` of every row from the first, which is the intact network's and ``unchanged``.

    Parameters
    ----------
    table : (K, N).
    """
    values = np.atleast_2d(np.asarray(table))
    change = paired_intervals(values, values[0], seed=seed)
    for ends, known in zip(change, unchanged(values[0]), strict=True):
        ends[0] = known
    return change


def wilson(successes: ArrayLike, n: int, level: float = 0.95) -> tuple[Floats, Floats]:
    """Wilson's score interval of a rate.

    Parameters
    ----------
    successes : counts, any shape, each out of ``n``.

    Returns
    -------
    low, high : of the same shape; within [0, 1], and of positive width also at 0 and n.

    Source: Wilson 1927, as statsmodels has it; recommended for small counts by Brown, Cai and DasGupta 2001.
    """
    from statsmodels.stats.proportion import proportion_confint

    if n < 1:
        raise ResanalysisError(f"a rate needs at least one trial, got n = {n}")
    counts = np.asarray(successes, dtype=np.float64)
    low, high = proportion_confint(counts, n, alpha=1 - level, method="wilson")
    # At 0 and n the formula's ends are 0 and 1 up to a last digit, on either side.
    return np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)


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
    # The interval is about the adjusted difference, which is nearer 0. Of few examples it can leave the plain
    # one out, and is widened to hold it.
    return Interval(mean, min(mean, max(-1.0, middle - half)), max(mean, min(1.0, middle + half)))
