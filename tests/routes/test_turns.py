"""The order of a breadth-first walk, replayed move by move."""

from __future__ import annotations

from itertools import pairwise

import pytest
from torch import nn

from resanalysis import ResanalysisError
from resanalysis.network import ResidualNetwork, ResidualUnit
from resanalysis.routes.route import Route, Step, intact, parallel, placed, reordered, without
from resanalysis.routes.turns import Schedule, schedule


def chain(units: int, *, bridge: int | None = None) -> ResidualNetwork:
    """Units that do nothing, one of them behind a bridge."""
    bridges = [nn.Identity() if unit == bridge else None for unit in range(units)]
    made = [
        ResidualUnit(unit, f"u{unit}", nn.Identity(), nn.Identity(), in_shape=(1,), out_shape=(1,))
        for unit in range(units)
    ]
    return ResidualNetwork(nn.Identity(), tuple(made), nn.Identity(), tuple(bridges))


def replayed(plan: Schedule) -> tuple[dict[int, tuple[Step, ...]], int]:
    """The steps that each route has gone, and the most streams there were; a stream let go of is not used."""
    streams: dict[int, tuple[Step, ...]] = {0: ()}
    most = 1
    for turn in plan.turns:
        for move in turn.moves:
            assert turn.place.endswith(str(getattr(move.step, "unit", None)))
            streams[move.target] = (*streams[move.source], move.step)
            most = max(most, len(streams))
            if move.last:
                del streams[move.source]
    assert set(streams) == set(plan.ends)
    found = {route: streams[stream] for stream, routes in plan.ends.items() for route in routes}
    return {**found, -1: streams[plan.intact]}, most


def sweep(network: ResidualNetwork) -> list[Route]:
    return [intact(network), *(without(network, [unit]) for unit in range(len(network)))]


@pytest.mark.parametrize("bridge", [None, 2])
def test_single_deletions_take_every_part_once_and_in_order(bridge: int | None) -> None:
    network = chain(5, bridge=bridge)
    plan = schedule(network, sweep(network))
    places = [turn.place for turn in plan.turns]
    units = [f"unit{unit}" for unit in range(5)]
    assert places == (units if bridge is None else [*units[:2], "bridge2", *units[2:]])
    assert plan.most == 7  # six ends, and the one that the last two are made of


def test_every_route_is_gone_to_its_end() -> None:
    network = chain(5, bridge=3)
    routes = [
        *sweep(network),
        without(network, [0, 2, 4]),
        reordered(network, [1, 0, 2, 3, 4]),
        reordered(network, [4, 3, 2, 1, 0]),
        placed(network, [1, 1, 1, 3, 4]),
        intact(network),
    ]
    plan = schedule(network, routes)
    gone, most = replayed(plan)
    assert gone == {**{n: route.steps for n, route in enumerate(routes)}, -1: routes[0].steps}
    assert plan.most == most


def test_the_intact_network_is_there_where_no_route_is_it() -> None:
    network = chain(3)
    gone, _ = replayed(schedule(network, [without(network, [1])]))
    assert gone[-1] == intact(network).steps


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 0, 2, 3), (3, 2, 1, 0), (2, 3, 0, 1)])
def test_an_order_takes_a_round_more_for_each_descent(order: tuple[int, ...]) -> None:
    network = chain(4)
    numbers = [int(turn.place[4:]) for turn in schedule(network, [reordered(network, order)]).turns]
    rounds = 1 + sum(after <= before for before, after in pairwise(numbers))
    assert rounds == 1 + sum(after < before for before, after in pairwise(order))


def test_units_side_by_side_are_refused() -> None:
    network = chain(3)
    with pytest.raises(ResanalysisError, match="--stream-weights reads one"):
        schedule(network, [parallel(network, [(0, 1)])])
