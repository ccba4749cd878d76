"""The distribution of path lengths: Veit et al. 2016, Figure 6a; what is left of it after lesions, Figure 7."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate
from typing import TYPE_CHECKING

import pandas as pd

from resanalysis.errors import ResanalysisError
from resanalysis.statistics.path_length import (
    Block,
    central_interval,
    parsed_survival,
    path_counts,
    path_probabilities,
    remaining_fraction,
    surviving_probabilities,
    units_of_depth,
)

if TYPE_CHECKING:
    from resanalysis.network import ResidualNetwork


def paths(
    network: ResidualNetwork | None = None,
    *,
    depth: int | None = None,
    units: int | None = None,
    block: Block = "basic",
    survival: Sequence[float] | str | None = None,
    deleted: int = 0,
) -> pd.DataFrame:
    """How many of the 2ⁿ paths go through exactly k branches.

    Parameters
    ----------
    network, depth, units : one of them: an unraveled network, the depth of a CIFAR ResNet (6n + 2
        layers, or 9n + 2 with ``block="bottleneck"``), or a number of units.
    survival : probability that each unit's branch is present (stochastic depth), or ``"linear:0.5"``:
        falling to 0.5 at the last unit; the probabilities are then Poisson-binomial, the counts
        unchanged.
    deleted : this many units have no branch any more: the paths of what is left.

    Returns
    -------
    DataFrame : ``length`` 0…n, ``count`` (whole numbers of any size), ``probability``, ``cumulative``.
        ``attrs`` holds ``units``, ``mean``, ``interval95``, the shortest run of lengths with 95 %, and
        ``fraction_left``, the fraction of paths the deletion leaves.

    Raises
    ------
    ResanalysisError : unless exactly one of the three is given, for a depth there is none of, or a network
        without skips.

    Source: Veit et al. 2016, §5.1.
    """
    n = _units_of(network, depth, units, block)
    if deleted and survival is not None:
        raise ResanalysisError(
            "deleted units and a survival: give the survival of the units that are left"
        )
    if deleted and not 0 < deleted < n:
        raise ResanalysisError(f"{deleted} of {n} units cannot be deleted and leave paths to count")
    n -= deleted
    counts = path_counts(n)
    chosen = _probabilities(n, survival)
    probabilities = [float(p) for p in chosen]
    frame = pd.DataFrame(
        {
            "length": range(n + 1),
            "count": pd.Series(counts, dtype=object),
            "probability": probabilities,
            "cumulative": [float(share) for share in accumulate(chosen)],
        }
    )
    frame.attrs = {
        "units": n,
        "mean": float(sum(k * p for k, p in enumerate(chosen))),
        "interval95": list(central_interval(chosen)),
        "stochastic_depth": survival is not None,
        "deleted": deleted,
        "fraction_left": float(remaining_fraction(deleted)),
    }
    return frame


def _units_of(
    network: ResidualNetwork | None, depth: int | None, units: int | None, block: Block
) -> int:
    """How many units have two ways past them, by the one of the three that is given."""
    if sum(given is not None for given in (network, depth, units)) != 1:
        raise ResanalysisError("name one of a model, a depth and a number of units")
    if network is None:
        return units_of_depth(depth, block) if depth is not None else int(units or 0)
    n = sum(unit.skip_kind != "none" for unit in network.units)
    if n == 0:
        raise ResanalysisError(
            f"{network.name} has no skips: its one path goes through all {len(network)} layers"
        )
    return n


def _probabilities(n: int, survival: Sequence[float] | str | None) -> Sequence[Fraction | float]:
    """Of each length: binomial, or Poisson-binomial where branches survive with their own probability."""
    if survival is None:
        return path_probabilities(n)
    each = parsed_survival(survival, n) if isinstance(survival, str) else survival
    if len(each) != n:
        raise ResanalysisError(f"{len(each)} survival probabilities for {n} units")
    return surviving_probabilities(each)


def paths_remaining(units: int, *, deleted: int | None = None) -> pd.DataFrame:
    """Fraction of paths left after deleting 0…``deleted`` units, in a residual and in a plain network.

    Returns
    -------
    DataFrame : ``deleted``, ``residual`` (2^−d), ``plain`` (1, then 0: its one path is cut).

    Source: Veit et al. 2016, §4.1 and Figure 7.
    """
    last = min(units, 20) if deleted is None else deleted
    if not 0 <= last <= units:
        raise ResanalysisError(f"{last} of {units} units cannot be deleted")
    return pd.DataFrame(
        {
            "deleted": range(last + 1),
            "residual": [float(remaining_fraction(d)) for d in range(last + 1)],
            "plain": [1.0] + [0.0] * last,
        }
    )
