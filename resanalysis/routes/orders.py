"""Orders of the units: random exchanges of two that fit in each other's place, never an order twice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, combinations, permutations, product

import numpy as np

from resanalysis.routes.route import kendall_tau, swapped_order

Groups = Sequence[Sequence[int]]
"""Units that may change places with each other, one sequence for each stage."""

# After this many times as many orders as asked for, no more new ones are expected.
_TRIES = 50


@dataclass(frozen=True)
class Order:
    """The unit at each position, and how it came about.

    Attributes
    ----------
    swaps : exchanges made, one after the other; of a listed order the fewest that make it.
    draw : its number among those with as many swaps, or among all.
    """

    units: tuple[int, ...]
    swaps: int
    draw: int


def count_orders(groups: Groups) -> int:
    """How many orders there are beside the trained one."""
    return math.prod(math.factorial(len(group)) for group in groups) - 1


def every_order(units: int, groups: Groups) -> list[Order]:
    """All orders but the trained one."""
    trained = tuple(range(units))
    found: list[Order] = []
    for contents in product(*(permutations(group) for group in groups)):
        order = list(trained)
        for place, unit in zip(chain(*groups), chain(*contents), strict=True):
            order[place] = unit
        if tuple(order) != trained:
            found.append(Order(tuple(order), fewest_swaps(order), len(found)))
    return found


def fewest_swaps(order: Sequence[int]) -> int:
    """The fewest exchanges that make an order: units less cycles. Source: Cayley 1849."""
    seen: set[int] = set()
    cycles = 0
    for start in range(len(order)):
        cycles += start not in seen
        at = start
        while at not in seen:
            seen.add(at)
            at = order[at]
    return len(order) - cycles


def by_swaps(
    units: int, groups: Groups, swaps: Sequence[int], draws: int, generator: np.random.Generator
) -> list[Order]:
    """For each number of swaps, ``draws`` orders that no number before it had; fewer where there are none.

    Each exchange takes one of all pairs that may change places, whatever the ones before it did. The trained
    order, which several exchanges can come back to, is none of them.

    Source: Veit et al. 2016, §4.3.
    """
    pairs = _pairs(groups)
    found: list[Order] = []
    taken = {tuple(range(units))}
    for times in swaps:
        if times == 1 and len(pairs) <= draws:
            tried = iter([swapped_order(units, [pair]) for pair in pairs])
        else:
            tried = (_shuffled(units, pairs, times, generator) for _ in range(_TRIES * draws))
        fresh: list[tuple[int, ...]] = []
        for order in tried:
            if len(fresh) == draws:
                break
            if order not in taken:
                taken.add(order)
                fresh.append(order)
        found += [Order(order, times, draw) for draw, order in enumerate(fresh)]
    return found


def evenly_by_tau(
    units: int, groups: Groups, draws: int, width: float, generator: np.random.Generator
) -> list[Order]:
    """Distinct orders whose Kendall tau is spread evenly over bins of ``width``.

    Many candidates are made, from one swap to thorough shuffles, and the same number is taken from every bin
    as far as they reach.
    """
    pairs = _pairs(groups)
    movable = sum(len(group) for group in groups)
    candidates: dict[tuple[int, ...], int] = {}
    # Tau falls fast with the first swaps and then hardly: even steps would make nearly all candidates thorough
    # shuffles.
    for swaps in np.unique(np.geomspace(1, max(2, 2 * movable), 12).round().astype(int)):
        for _ in range(max(draws, 50)):
            candidates.setdefault(_shuffled(units, pairs, int(swaps), generator), int(swaps))
    candidates.pop(tuple(range(units)), None)
    orders = list(candidates)
    bins: dict[int, list[tuple[int, ...]]] = {}
    for index in generator.permutation(len(orders)):
        bins.setdefault(tau_bin(kendall_tau(orders[index]), width), []).append(orders[index])
    kept: set[tuple[int, ...]] = set()
    # One from each bin in turn, until all are empty or there are enough: full bins fill up for empty ones.
    while len(kept) < min(draws, len(orders)):
        for name in sorted(bins):
            if bins[name] and len(kept) < draws:
                # Bins were filled in random order, so the last is a random one.
                kept.add(bins[name].pop())
    chosen = [order for order in orders if order in kept]
    return [Order(order, candidates[order], draw) for draw, order in enumerate(chosen)]


def tau_bin(tau: float, width: float) -> int:
    """Which bin of tau: 0 reaches from 1 down by ``width``, its lower end left out."""
    return int((1 - tau) / width + 1e-9)  # a tau at an end is not to fall with its last digit


def _pairs(groups: Groups) -> list[tuple[int, int]]:
    return [pair for group in groups for pair in combinations(group, 2)]


def _shuffled(
    units: int, pairs: Sequence[tuple[int, int]], swaps: int, generator: np.random.Generator
) -> tuple[int, ...]:
    chosen = generator.integers(0, len(pairs), swaps)
    return swapped_order(units, [pairs[number] for number in chosen])
