"""Intervals that hold at every sample size at once, so that one may look often and stop when it is enough.

An interval for a fixed N holds in 95 % of cases if N was fixed beforehand; stopping when one looks narrow
breaks that. A confidence sequence holds for all sizes together in 95 %. These are by betting. For each possible
mean two gamblers bet against it, one that the values are higher, one that they are lower. A mean against which
one of them once grew forty-fold is ruled out. Against the true one that happens to either of them in at most
one case of forty.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from resanalysis.statistics.bootstrap import Band, Floats

# No bet risks more than this share of the capital on one example (the paper's c).
_MOST = 0.5
# Halvings of [0, 1]: ends are then right to a billionth, and rounded outwards.
_HALVINGS = 30


def mean_sequence(values: ArrayLike, *, level: float = 0.95) -> Band:
    """Means (K,) of rows in [0, 1] with the confidence sequence at their last value.

    The ends are the narrowest of all sizes so far (the running intersection). Where the first examples were so
    odd that this leaves the mean of all out, it is widened to hold it: such a row is not yet known well.
    Examples come in a random order; rows are sequences of their own.

    Parameters
    ----------
    values : (K, N) in [0, 1]; a row that stopped earlier is NaN from there on.

    Source: Waudby-Smith and Ramdas 2023, "Estimating means of bounded random variables by betting", Theorem 3
    (hedged capital), with its predictable plug-in bets.
    """
    rows = np.atleast_2d(np.asarray(values, dtype=np.float64))
    bets = _bets(rows, level)
    low, mirrored = (_lowest(side, bets, level) for side in (rows, 1 - rows))
    seen = (~np.isnan(rows)).sum(1)
    mean = np.where(seen > 0, np.nansum(rows, axis=1) / np.maximum(seen, 1), np.nan)
    return Band(mean, np.fmin(low, mean), np.fmax(1 - mirrored, mean))


def difference_sequence(values: ArrayLike, base: ArrayLike, *, level: float = 0.95) -> Band:
    """Mean difference of every row (K, N) from ``base`` (N,) on the same examples, all in [0, 1]."""
    found = mean_sequence(_halved(values, base), level=level)
    return Band(*(2 * ends - 1 for ends in found))


def difference_p(
    values: ArrayLike, base: ArrayLike, true: float = 0.0, *, level: float = 0.95
) -> Floats:
    """Two-sided p-values (K,) that rows differ from ``base`` by ``true`` in the mean, valid whenever one stops.

    One over the most that either gambler ever had, each starting with half. It is below ``1 − level`` wherever
    the sequence of that level leaves ``true`` out.

    Source: Ville 1939; Waudby-Smith and Ramdas 2023, §4.
    """
    rows = _halved(values, base)
    bets = _bets(rows, level)
    mean = np.full(len(rows), (1 + true) / 2)
    up, down = _capital(rows, bets, mean), _capital(1 - rows, bets, 1 - mean)
    return np.minimum(1.0, 2 * np.exp(-np.maximum(up, down).max(1)))


def _halved(values: ArrayLike, base: ArrayLike) -> Floats:
    """Differences in [−1, 1] as numbers in [0, 1]."""
    rows = np.atleast_2d(np.asarray(values, dtype=np.float64))
    return (1 + rows - np.asarray(base, dtype=np.float64)) / 2


def _bets(rows: Floats, level: float) -> Floats:
    """What is staked on each value (K, N), from the values before it alone."""
    number = np.arange(1, rows.shape[1] + 1)
    # As if one value of ½ with variance ¼ had come before: the first bets are small, and no variance is 0.
    mean = (0.5 + np.cumsum(rows, axis=1)) / (number + 1)
    spread = (0.25 + np.cumsum((rows - mean) ** 2, axis=1)) / (number + 1)
    # One place later: a bet that knew its own value would be none, and the sequence would not hold.
    before = np.hstack([np.full((len(rows), 1), 0.25), spread[:, :-1]])
    return np.sqrt(2 * np.log(2 / (1 - level)) / (before * number * np.log1p(number)))


def _capital(rows: Floats, bets: Floats, mean: Floats) -> Floats:
    """Log of what one unit has become (K, N) by betting that the means are above ``mean`` (K,)."""
    against = mean[:, None]
    # A bet against m loses m times its stake at most: with this bound half of the capital stays, and its log is
    # finite.
    grown = np.log1p(np.minimum(bets, _MOST / against) * (rows - against))
    return np.cumsum(np.nan_to_num(grown, copy=False), axis=1)  # after its end a row bets no more


def _lowest(rows: Floats, bets: Floats, level: float) -> Floats:
    """The lower ends (K,).

    The capital falls as the mean that is bet against rises, at every size; so what is ruled out lies below one
    number, and halving finds it.
    """
    out, kept = np.zeros(len(rows)), np.ones(len(rows))
    for _ in range(_HALVINGS):
        middle = (out + kept) / 2
        # Ville: the capital against the true mean ever reaches 2/α with probability α/2 at most. Two gamblers.
        ruled_out = _capital(rows, bets, middle).max(1) >= np.log(2 / (1 - level))
        out, kept = np.where(ruled_out, middle, out), np.where(ruled_out, kept, middle)
    return out
