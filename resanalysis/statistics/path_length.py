"""How many paths of each length a residual network has: exact counts and probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

from resanalysis.errors import ResanalysisError

Block = Literal["basic", "bottleneck"]
_LAYERS_PER_STEP: dict[str, int] = {"basic": 6, "bottleneck": 9}


def units_of_depth(depth: int, block: Block = "basic") -> int:
    """Residual units of a CIFAR ResNet of a depth: 6n + 2 layers (basic) or 9n + 2 (bottleneck) have 3n.

    Raises
    ------
    ResanalysisError : for a depth there is none of; names the nearest two.

    Source: He et al. 2015, §4.2; He et al. 2016, §3.
    """
    if block not in _LAYERS_PER_STEP:
        raise ResanalysisError(f"no block {block!r}; there are basic and bottleneck")
    step = _LAYERS_PER_STEP[block]
    n, rest = divmod(depth - 2, step)
    if rest or n < 1:
        below = max(1, n)
        raise ResanalysisError(
            f"no CIFAR ResNet of {block} blocks has {depth} layers: depths are {step}n + 2, the nearest "
            f"{step * below + 2} and {step * (below + 1) + 2}; or give the number of units"
        )
    return 3 * n


def path_counts(units: int) -> list[int]:
    """Number of paths through exactly k branches, k = 0…units: C(units, k), as whole numbers.

    Source: Veit et al. 2016, §3 and §5.1.
    """
    if units < 1:
        raise ResanalysisError(f"a residual network has at least one unit, got {units}")
    return [math.comb(units, length) for length in range(units + 1)]


def path_probabilities(units: int) -> list[Fraction]:
    """Probability of each length when every path is equally likely: Binomial(units, ½), exact."""
    return [Fraction(count, 2**units) for count in path_counts(units)]


def surviving_probabilities(survival: Sequence[float]) -> list[float]:
    """Probability of each length when unit i's branch is present with probability ``survival[i] / 2``.

    Stochastic depth keeps branch i with probability p_i; a path drawn uniformly from a network that
    keeps only some branches goes through each of those with probability ½, so the length is
    Poisson-binomial with success p_i / 2. (The number of branches that are there is another thing:
    its mean is Σ p_i, twice the mean length.)

    Raises
    ------
    ResanalysisError : for probabilities outside [0, 1].

    Source: Huang et al. 2016, §3; Veit et al. 2016, §6.
    """
    probabilities = [1.0]
    for value in survival:
        if not 0 <= value <= 1:
            raise ResanalysisError(f"a survival probability lies in [0, 1], got {value}")
        chance = value / 2
        stays = [*(p * (1 - chance) for p in probabilities), 0.0]
        goes = [0.0, *(p * chance for p in probabilities)]
        probabilities = [a + b for a, b in zip(stays, goes, strict=True)]
    return probabilities


def linear_survival(units: int, last: float) -> list[float]:
    """Survival that falls linearly from 1 at the input to ``last`` at the last unit (Huang et al. 2016)."""
    if not 0 <= last <= 1:
        raise ResanalysisError(f"a survival probability lies in [0, 1], got {last}")
    return [1 - (unit + 1) / units * (1 - last) for unit in range(units)]


def parsed_survival(text: str, units: int) -> list[float]:
    """Survival of each unit from ``linear:0.5`` (falls to 0.5 at the last unit) or ``uniform:0.8``.

    Raises
    ------
    ResanalysisError : for any other text.
    """
    rule, _, number = text.partition(":")
    try:
        last = float(number)
    except ValueError:
        last = -1.0
    if rule not in ("linear", "uniform") or not 0 <= last <= 1:
        raise ResanalysisError(
            f"a survival is linear:P or uniform:P with P in [0, 1], got {text!r}"
        )
    return linear_survival(units, last) if rule == "linear" else [last] * units


def central_interval(
    probabilities: Sequence[Fraction | float], share: float = 0.95
) -> tuple[int, int]:
    """The shortest run of lengths that holds at least ``share``; of equally short ones the fullest."""
    wanted = Fraction(share).limit_denominator(10**9) * sum(probabilities)
    best = (0, len(probabilities) - 1)
    best_held: Fraction | float = sum(probabilities)
    low = 0
    held: Fraction | float = 0
    for high, probability in enumerate(probabilities):
        held += probability
        # Both ends only move right: n steps for n lengths, exact where the probabilities are fractions.
        while held - probabilities[low] >= wanted:
            held -= probabilities[low]
            low += 1
        if held >= wanted and (high - low, -held) < (best[1] - best[0], -best_held):
            best, best_held = (low, high), held
    return best


def remaining_fraction(deleted: int) -> Fraction:
    """Fraction of a residual network's paths that survive the deletion of some units: 2^−deleted.

    A plain network has one path, which no deletion survives. Source: Veit et al. 2016, §4.1.
    """
    if deleted < 0:
        raise ResanalysisError(f"a number of deleted units is not negative, got {deleted}")
    return Fraction(1, 2**deleted)
