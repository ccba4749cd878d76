"""Routes name the right parts; Kendall's tau agrees with its definition."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from resanalysis.network import ResidualNetwork, ResidualUnit
from resanalysis.routes.route import (
    BranchOnly,
    Bridge,
    Full,
    Parallel,
    SkipOnly,
    cut_skip,
    intact,
    interchangeable,
    kendall_tau,
    parallel,
    placed,
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
    from resanalysis.routes.tree import run_step

    x = torch.randn(3, 4)
    h = x
    for step in intact(NETWORK).steps:
        h, _ = run_step(NETWORK, step, h, ())
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


def test_a_unit_may_run_at_several_positions() -> None:
    assert placed(NETWORK, (1, 1, 2, 4, 4)).steps == (
        Full(1), Full(1), Full(2), Bridge(3), Full(4), Full(4),
    )  # fmt: skip
    assert placed(NETWORK, range(5)) == intact(NETWORK)
    with pytest.raises(ValueError, match="5 positions need a unit each, got 2 units"):
        placed(NETWORK, (0, 1))
    with pytest.raises(
        ValueError, match=r"unit 2 \(u2: \(4,\) → \(6,\)\) cannot run in place of unit 0"
    ):
        placed(NETWORK, (2, 1, 2, 3, 4))
    with pytest.raises(ValueError, match=r"the network has units 0 to 4, got \[5\]"):
        placed(NETWORK, (0, 1, 2, 3, 5))


def test_runs_in_parallel_by_hand() -> None:
    assert parallel(NETWORK, [(0, 1), (3, 4)], loops=3).steps == (
        Parallel((0, 1), 3), Full(2), Bridge(3), Parallel((3, 4), 3),
    )  # fmt: skip
    assert parallel(NETWORK, [(4,)]).steps[-1] == Parallel((4,))
    assert parallel(NETWORK, []) == intact(NETWORK)


def test_what_cannot_run_in_parallel_is_named() -> None:
    with pytest.raises(ValueError, match="units 0 and 3 do not follow each other directly"):
        parallel(NETWORK, [(0, 3)])
    with pytest.raises(ValueError, match="units 2 and 3 do not follow each other directly"):
        parallel(NETWORK, [(2, 3)])
    with pytest.raises(
        ValueError, match=r"unit 2 \(u2: \(4,\) → \(6,\)\) changes the stream's shape"
    ):
        parallel(NETWORK, [(1, 2)])
    with pytest.raises(ValueError, match=r"parallel units run at least once, got loops = 0"):
        parallel(NETWORK, [(0, 1)], loops=0)
    with pytest.raises(ValueError, match=r"the network has units 0 to 4, got \[5\]"):
        parallel(NETWORK, [(4, 5)])


def test_parallel_runs_compute_the_mean_of_their_units() -> None:
    from resanalysis.routes.tree import run_step

    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    kept = x.clone()
    h = x
    for step in parallel(NETWORK, [(0, 1), (3, 4)], loops=2).steps:
        h, _ = run_step(NETWORK, step, h, ())
    u, expected = NETWORK.units, x
    for _ in range(2):
        expected = torch.stack([u[0](expected), u[1](expected)]).mean(0)
    expected = u[2](expected)
    for _ in range(2):
        expected = torch.stack([u[3](expected), u[4](expected)]).mean(0)
    torch.testing.assert_close(h, expected)
    assert torch.equal(x, kept)
