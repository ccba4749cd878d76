"""What is said of the cost against what the tree of routes runs."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from resanalysis.experiments import work
from resanalysis.routes.route import without
from resanalysis.routes.tree import PrefixTree
from tests.experiments.one_by_one import tiny_data, tiny_network

UNITS = 12
OPTIONS = {"calibration": 0.5, "draws": 10, "timing": 0}


def passes(gone: list[tuple[int, ...]]) -> float:
    """Steps of the tree of these deletions, in passes through all units."""
    network = tiny_network(tiny_data(2), 2 * UNITS + 2)
    assert len(network) == UNITS
    routes = [without(network, units) for units in gone]
    return PrefixTree.of(list(enumerate(routes))).size / UNITS


def test_the_cost_of_pairs_and_of_growing_deletions_is_that_of_their_tree() -> None:
    deleted = [gone for count in (0, 1, 2) for gone in combinations(range(UNITS), count)]
    assert work.pairs(UNITS, {}).passes == pytest.approx(passes(deleted), rel=0.25)
    generator = np.random.default_rng(0)
    orders = [generator.permutation(UNITS).tolist() for _ in range(10)]
    nested = [tuple(sorted(order[:k])) for order in orders for k in range(UNITS + 1)]
    expected = passes(list(dict.fromkeys(nested)))
    assert work.growing(UNITS, {"orders": 10}).passes == pytest.approx(expected, rel=0.5)


def test_a_search_that_looks_at_more_costs_more() -> None:
    few = work.greedy(27, {**OPTIONS, "orders": ["influence"]}).passes
    for more in ("greedy", "iterative_influence", "interactions"):
        assert few < work.greedy(27, {**OPTIONS, "orders": ["influence", more]}).passes
    assert few < work.greedy(54, {**OPTIONS, "orders": ["influence"]}).passes
