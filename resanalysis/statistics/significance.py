"""Tests of paired measurements on the same examples, and corrections for having made many of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]


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
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    if np.isnan(difference).any():
        return float("nan")
    if not difference.any():
        return 1.0
    return float(np.asarray(stats.wilcoxon(difference))[1])


def holm(p_values: ArrayLike) -> Floats:
    """p-values adjusted for the number of tests by Holm's step-down rule; NaN stays NaN.

    Source: Holm 1979, as statsmodels has it.
    """
    from statsmodels.stats.multitest import multipletests

    values = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full_like(values, np.nan)
    tested = ~np.isnan(values)
    if tested.any():
        adjusted[tested] = multipletests(values[tested], method="holm")[1]
    return adjusted


def false_discovery(p_values: ArrayLike) -> Floats:
    """p-values adjusted so that a threshold bounds the share of false discoveries; NaN stays NaN.

    Source: Benjamini and Hochberg 1995, as scipy has it.
    """
    values = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full_like(values, np.nan)
    tested = ~np.isnan(values)
    if tested.any():
        adjusted[tested] = stats.false_discovery_control(values[tested])
    return adjusted
