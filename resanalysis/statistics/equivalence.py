"""Whether two ways of training are equally good: two one-sided tests over training seeds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from resanalysis.errors import ResanalysisError


@dataclass(frozen=True)
class Equivalence:
    """The difference of two means, and whether it is shown to be smaller than a margin.

    Attributes
    ----------
    difference, low, high : mean of the one less mean of the other, with its interval of level 1 − 2α: the
        tests succeed exactly if it lies inside ±margin.
    p_value : the larger of the two tests'.
    equivalent : whether it is below α. If not, equality is not shown; nor is a difference.
    """

    difference: float
    low: float
    high: float
    p_value: float
    equivalent: bool
    seeds_one: int
    seeds_other: int

    def row(self) -> dict[str, float | int | bool]:
        """Its fields, as a row of a table."""
        return asdict(self)


def equivalence(
    one: ArrayLike, other: ArrayLike, margin: float, *, alpha: float = 0.05
) -> Equivalence:
    """Test that two means differ by less than ``margin``; variances may differ.

    That a difference is not significant does not show that there is none: with few seeds nothing is
    significant. Here the burden is the other way round: the null hypotheses are that the one mean is larger,
    and that it is smaller, by ``margin`` or more, and both must be rejected.

    Parameters
    ----------
    one, other : (S,) and (T,), a number for each training seed, such as the test error.
    margin : above 0, in the same unit; chosen before the trainings are looked at.

    Raises
    ------
    ResanalysisError : for fewer than two seeds, seeds that do not differ at all, or a margin not above 0.

    Source: Schuirmann 1987, with Welch's t test.
    """
    first, second = (np.asarray(values, dtype=np.float64) for values in (one, other))
    if min(len(first), len(second)) < 2:
        raise ResanalysisError(
            f"equivalence needs two seeds or more of each, got {len(first)} and {len(second)}"
        )
    if not margin > 0:
        raise ResanalysisError(f"the margin of equivalence must be above 0, got {margin}")
    if not (first.std() or second.std()):
        raise ResanalysisError(
            "all seeds gave the same number: they say nothing of how much seeds differ"
        )
    # Two one-sided tests, both of which must succeed: one + margin > other, and one − margin < other.
    above: Any = stats.ttest_ind(first + margin, second, equal_var=False, alternative="greater")
    below: Any = stats.ttest_ind(first - margin, second, equal_var=False, alternative="less")
    both: Any = stats.ttest_ind(first, second, equal_var=False).confidence_interval(1 - 2 * alpha)
    p_value = float(max(above.pvalue, below.pvalue))
    return Equivalence(
        difference=float(first.mean() - second.mean()),
        low=float(both.low),
        high=float(both.high),
        p_value=p_value,
        equivalent=p_value < alpha,
        seeds_one=len(first),
        seeds_other=len(second),
    )
