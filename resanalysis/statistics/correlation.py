"""Rank correlations with their intervals and tests."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from resanalysis.errors import ResanalysisError
from resanalysis.statistics.bootstrap import RESAMPLES, Floats, Interval, bootstrap

Method = Literal["kendall", "spearman"]
PERMUTATIONS = 1999


def rank_correlation(
    x: ArrayLike,
    y: ArrayLike,
    method: Method = "kendall",
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
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
    xs, ys = _pairs(x, y, method)
    measure = {"kendall": _kendall, "spearman": _spearman}[method]
    found = bootstrap(
        lambda weights: measure(xs, ys, weights)[:, None],
        len(xs),
        level=level,
        resamples=resamples,
        seed=seed,
    )
    return found.row(0)


def rank_correlation_p(
    x: ArrayLike, y: ArrayLike, method: Method = "kendall", *, seed: int = 0
) -> float:
    """Two-sided p-value that ``x`` and ``y`` are unrelated.

    By permutation of the pairs, all of them where they are few: what scipy gives for Spearman's ρ is meant
    for more pairs than a network has units.

    Parameters
    ----------
    x, y : (N,), N ≥ 3.

    Source: Pitman 1937.
    """
    xs, ys = _pairs(x, y, method)
    if method == "kendall":
        # Σ sign·sign is all of τ that a permutation of one side changes.
        above, other = np.triu_indices(len(xs), 1)
        signs = np.sign(ys[above] - ys[other])

        def statistic(values: Floats, axis: int = -1) -> Floats:
            del axis
            return np.sign(values[..., above] - values[..., other]) @ signs
    else:
        ranks = stats.rankdata(ys) - (len(ys) + 1) / 2
        xs = stats.rankdata(xs)

        def statistic(values: Floats, axis: int = -1) -> Floats:
            del axis
            return values @ ranks

    found: Any = stats.permutation_test(
        (xs,), statistic, permutation_type="pairings", vectorized=True, n_resamples=PERMUTATIONS,
        batch=1000, rng=np.random.default_rng(seed),
    )  # fmt: skip
    return float(found.pvalue)


def _pairs(x: ArrayLike, y: ArrayLike, method: str) -> tuple[Floats, Floats]:
    if method not in get_args(Method):
        raise ResanalysisError(f"no rank correlation {method!r}; there are kendall and spearman")
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(xs) < 3 or len(ys) != len(xs):
        raise ResanalysisError(
            f"a rank correlation needs at least 3 pairs, got {len(xs)} and {len(ys)} values"
        )
    return xs, ys


def _kendall(x: Floats, y: Floats, weights: Floats) -> Floats:
    """τ_b of samples in which pair i occurs ``weights[:, i]`` times: (resamples,)."""
    # What a resample has twice is tied with itself, sign 0, and so counts as τ_b counts ties.
    sx, sy = np.sign(x[:, None] - x), np.sign(y[:, None] - y)

    def total(signs: Floats) -> Floats:
        return np.einsum("rn,rn->r", weights @ signs, weights)

    with np.errstate(invalid="ignore", divide="ignore"):
        return total(sx * sy) / np.sqrt(total(sx * sx) * total(sy * sy))


def _spearman(x: Floats, y: Floats, weights: Floats) -> Floats:
    """ρ of samples in which pair i occurs ``weights[:, i]`` times: (resamples,)."""
    n = weights.sum(1, keepdims=True)

    def centred_ranks(values: Floats) -> Floats:
        # The rank in the resample: how much of it lies below, and the middle of its ties.
        below = weights @ (values[:, None] < values)
        tied = weights @ (values[:, None] == values)
        return below + (tied + 1) / 2 - (n + 1) / 2

    rx, ry = centred_ranks(x), centred_ranks(y)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt((weights * rx * rx).sum(1) * (weights * ry * ry).sum(1))
        return (weights * rx * ry).sum(1) / spread
