"""What is said of the cost against what the tree of routes runs."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from resanalysis.experiments import EXPERIMENTS, experiment_named
from resanalysis.experiments.cost import pairs_cost, said, shapley_cost
from resanalysis.routes.route import without
from resanalysis.routes.tree import PrefixTree
from tests.experiments.one_by_one import tiny_data, tiny_network


def branches(gone: list[tuple[int, ...]]) -> int:
    """Steps of the tree of these deletions that run a branch or pass it by."""
    network = tiny_network(tiny_data(2), 26)
    routes = [without(network, units) for units in gone]
    return PrefixTree.of(list(enumerate(routes))).size


def test_the_cost_of_pairs_and_orders_is_that_of_their_tree() -> None:
    units = 12
    deleted = [gone for count in (0, 1, 2) for gone in combinations(range(units), count)]
    assert pairs_cost(units, {}) == pytest.approx(branches(deleted), rel=0.25)
    generator = np.random.default_rng(0)
    orders = [generator.permutation(units).tolist() for _ in range(10)]
    nested = [tuple(sorted(order[:k])) for order in orders for k in range(units + 1)]
    cost = shapley_cost(units, {"orders": 10})
    assert cost == pytest.approx(branches(list(dict.fromkeys(nested))), rel=0.5)


def test_it_is_said_in_passes_too() -> None:
    assert said(lambda units, _: 100.0 * units, 27, 1500, {}) == (
        "about 2,700 unit evaluations for each of 1,500 examples: 100 forward passes"
    )


def test_more_of_anything_costs_more() -> None:
    for experiment in EXPERIMENTS:
        if experiment.cost is not None:
            assert experiment.cost(20, {}) > experiment.cost(10, {}) > 0
    prune = experiment_named("prune").cost
    assert prune is not None
    few = prune(27, {"orders": ["influence"]})
    assert few < prune(27, {"orders": ["influence", "greedy"]})
    assert few < prune(27, {"orders": ["iterative_influence"]})
