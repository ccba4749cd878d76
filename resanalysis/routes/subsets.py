"""Which units go together: distinct sets of every size, nested where they can be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

# Ways to enlarge a set are tried this often before a draw's sets stop being nested.
_TRIES = 50


@dataclass(frozen=True)
class Subset:
    """Some units.

    Attributes
    ----------
    units : in ascending order.
    draw : which draw it belongs to; the sets of one draw are nested.
    listed : whether all sets of this size were taken, and none drawn.
    """

    units: tuple[int, ...]
    draw: int
    listed: bool


def nested_subsets(
    pool: Sequence[int], sizes: Sequence[int], draws: int, generator: np.random.Generator
) -> list[Subset]:
    """No set twice: all of a size where there are at most ``draws``, else as many random ones.

    A draw enlarges its set from size to size, so that curves over sizes compare like with like (common
    random numbers). An enlarged set that an earlier draw has already is drawn anew; where every one tried is
    taken, which happens near the ends of the range of sizes, the draw goes on with any set of that size. No
    unit is treated unlike another, so a set of any draw is uniform over all sets of its size.

    Parameters
    ----------
    sizes : between 1 and the size of ``pool``.

    Returns
    -------
    list : by size, then by draw.
    """
    found: dict[int, list[Subset]] = {}
    drawn: list[int] = []
    for size in sorted(set(sizes)):
        if math.comb(len(pool), size) <= draws:
            every = enumerate(combinations(sorted(pool), size))
            found[size] = [Subset(units, number, True) for number, units in every]
        else:
            found[size] = []
            drawn.append(size)
    taken: set[frozenset[int]] = set()
    # Draw by draw and not size by size, so that each set is enlarged from its own.
    for draw in range(draws):
        units: frozenset[int] = frozenset()
        for size in drawn:
            units = _new(pool, units, size, taken, generator)
            taken.add(units)
            found[size].append(Subset(tuple(sorted(units)), draw, False))
    return [subset for size in sorted(found) for subset in found[size]]


def _new(
    pool: Sequence[int],
    inside: frozenset[int],
    size: int,
    taken: set[frozenset[int]],
    generator: np.random.Generator,
) -> frozenset[int]:
    """A set that nobody has, around ``inside`` if one turns up."""
    for _ in range(_TRIES):
        rest = [unit for unit in pool if unit not in inside]
        added = generator.choice(rest, size - len(inside), replace=False)
        found = inside | {int(unit) for unit in added}
        if found not in taken:
            return found
    while True:  # there is one: sets of this size outnumber the draws
        found = frozenset(int(unit) for unit in generator.choice(pool, size, replace=False))
        if found not in taken:
            return found
