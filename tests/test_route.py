"""Routes name the right parts; Kendall's tau agrees with its definition."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from resanalysis.network import ResidualNetwork, ResidualUnit
from resanalysis.route import (
    BranchOnly,
    Bridge,
    Full,
    SkipOnly,
    cut_skip,
    intact,
    interchangeable,
    kendall_tau,
    reordered,
    scaled,
    swapped,
    swapped_order,
    without,
)


def chain(
    shapes: list[tuple[int, int]], stages: list[int], bridge_at: int | None = None
) -> ResidualNetwork:
    units = tuple(
        ResidualUnit(
            index=index,
            name=f"u{index}",
            skip=nn.Identity() if a == b else nn.Linear(a, b),
            branch=nn.Linear(a, b),
            in_shape=(a,),
            out_shape=(b,),
            stage=stage,
            transition=a != b,
        )
        for index, ((a, b), stage) in enumerate(zip(shapes, stages, strict=True))
    )
    bridges = tuple(nn.Identity() if i == bridge_at else None for i in range(len(units)))
    return ResidualNetwork(nn.Identity(), units, nn.Identity(), bridges)


NETWORK = chain([(4, 4), (4, 4), (4, 6), (6, 6), (6, 6)], [0, 0, 1, 1, 1], bridge_at=3)


def test_routes_by_hand() -> None:
    assert intact(NETWORK).steps == (Full(0), Full(1), Full(2), Bridge(3), Full(3), Full(4))
    assert without(NETWORK, [1, 3]).steps == (
        Full(0), SkipOnly(1), Full(2), Bridge(3), SkipOnly(3), Full(4),
    )  # fmt: skip
    assert cut_skip(NETWORK, [0]).steps[0] == BranchOnly(0)
    assert scaled(NETWORK, {4: 0.5}).steps[-1] == Full(4, 0.5)
    assert swapped(NETWORK, [(3, 4)]).steps[-2:] == (Full(4), Full(3))
    assert swapped(NETWORK, []) == intact(NETWORK)
    assert swapped(NETWORK, [(0, 1), (0, 1)]) == intact(NETWORK)


def test_only_units_of_one_stage_and_shape_are_interchangeable() -> None:
    assert interchangeable(NETWORK) == [(0, 1), (3, 4)]


def test_errors_name_the_units() -> None:
    with pytest.raises(ValueError, match=r"the network has units 0 to 4, got \[7\]"):
        without(NETWORK, [1, 7])
    with pytest.raises(
        ValueError, match=r"unit 3 \(u3: \(6,\) → \(6,\)\) cannot run in place of unit 0"
    ):
        reordered(NETWORK, (3, 1, 2, 0, 4))
    with pytest.raises(ValueError, match="an order names each of the units 0 to 4 once"):
        reordered(NETWORK, (0, 1, 2))


def test_a_route_that_changes_nothing_gives_the_same_output() -> None:
    from resanalysis.evaluate import run_step

    x = torch.randn(3, 4)
    h = x
    for step in intact(NETWORK).steps:
        h = run_step(NETWORK, step, h, ())
    assert torch.equal(h, NETWORK(x))


def tau_by_definition(order: tuple[int, ...]) -> float:
    pairs = list(itertools.combinations(range(len(order)), 2))
    agreeing = sum(order[i] < order[j] for i, j in pairs)
    return (2 * agreeing - len(pairs)) / len(pairs)


@given(st.permutations(list(range(7))))
def test_kendall_tau_is_concordant_minus_discordant_pairs(order: list[int]) -> None:
    assert kendall_tau(order) == pytest.approx(tau_by_definition(tuple(order)))


def test_kendall_tau_of_identity_reversal_and_one_item() -> None:
    assert kendall_tau(range(54)) == 1.0
    assert kendall_tau(range(53, -1, -1)) == -1.0
    assert kendall_tau([0]) == 1.0


def test_tau_floor_of_the_110_layer_network() -> None:
    """Full reversal within three stages of 18 with fixed transitions: papers give 0.406."""
    order = [*list(range(18))[::-1], 18, *range(35, 18, -1), 36, *range(53, 36, -1)]
    assert kendall_tau(order) == pytest.approx(1 - 2 * (153 + 136 + 136) / 1431)


def test_swapped_order_applies_pairs_one_after_the_other() -> None:
    assert swapped_order(4, [(0, 1), (1, 2)]) == (1, 2, 0, 3)
