"""Orders and subsets against enumeration: none twice, none missing, evenly spread."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from resanalysis.routes.orders import (
    by_swaps,
    count_orders,
    evenly_by_tau,
    every_order,
    fewest_swaps,
    tau_bin,
)
from resanalysis.routes.route import kendall_tau
from resanalysis.routes.subsets import nested_subsets


def test_every_order_is_there_once() -> None:
    groups = [(0, 1, 2), (4, 5)]
    found = [order.units for order in every_order(6, groups)]
    expected = {
        (*first, 3, *second)
        for first in itertools.permutations(range(3))
        for second in itertools.permutations((4, 5))
    } - {tuple(range(6))}
    assert len(found) == len(set(found)) == count_orders(groups) == 11
    assert set(found) == expected


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_fewest_swaps_equals_a_search(order: tuple[int, ...]) -> None:
    reached, swaps = {tuple(range(4))}, 0
    while order not in reached:
        swaps += 1
        for one in list(reached):
            for a, b in itertools.combinations(range(4), 2):
                other = list(one)
                other[a], other[b] = other[b], other[a]
                reached.add(tuple(other))
    assert fewest_swaps(order) == swaps


def test_swaps_are_as_many_as_said_and_none_twice() -> None:
    groups = [(0, 1, 2, 3), (5, 6, 7)]
    found = by_swaps(8, groups, (1, 2, 6), 12, np.random.default_rng(0))
    assert len({order.units for order in found}) == len(found)
    assert tuple(range(8)) not in {order.units for order in found}
    single = [order.units for order in found if order.swaps == 1]
    assert len(single) == 6 + 3  # every pair there is
    for order in found:
        assert fewest_swaps(order.units) <= order.swaps
        assert (order.swaps - fewest_swaps(order.units)) % 2 == 0


def test_orders_cover_tau_evenly() -> None:
    groups = [tuple(range(18)), tuple(range(19, 36)), tuple(range(37, 54))]
    chosen = evenly_by_tau(54, groups, 300, 0.05, np.random.default_rng(0))
    assert len({order.units for order in chosen}) == 300
    counts = np.bincount([tau_bin(kendall_tau(order.units), 0.05) for order in chosen])
    # At least 30 draws in every bin a random shuffle (mean tau 0.703) comes by.
    assert (counts[:6] >= 30).all()


def test_subsets_are_distinct_nested_and_uniform() -> None:
    pool = [0, 1, 3, 4, 6]
    sizes = (1, 2, 3, 5)
    seen = np.zeros(7)
    for seed in range(300):
        found = nested_subsets(pool, sizes, 8, np.random.default_rng(seed))
        for size in sizes:
            sets = [one.units for one in found if len(one.units) == size]
            assert len(sets) == len(set(sets)) == {1: 5, 2: 8, 3: 8, 5: 1}[size]
        pairs = [one for one in found if len(one.units) == 2]
        assert not any(one.listed for one in pairs)
        for one in pairs:
            seen[list(one.units)] += 1
    assert seen[[2, 5]].tolist() == [0, 0]
    expected = 300 * 8 * 2 / 5
    assert np.abs(seen[pool] - expected).max() < 0.06 * expected


def test_a_draw_is_nested_while_there_is_room() -> None:
    found = nested_subsets(range(20), (1, 4, 9), 15, np.random.default_rng(1))
    for draw in range(15):
        sets = [set(one.units) for one in found if one.draw == draw]
        assert [len(units) for units in sets] == [1, 4, 9]
        assert all(a < b for a, b in itertools.pairwise(sets))
