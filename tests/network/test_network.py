"""The chain and the one walk along it, against loops written out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from resanalysis.network import Piece, ResidualNetwork, ResidualUnit, Side


class Read(nn.Module):
    """A head that reads the stream where it ends and what was read of it on the way."""

    takes_side = True

    def forward(self, h: Tensor, side: Side) -> tuple[Tensor, ...]:
        return (h, *side)


def unit(
    index: int, width: int, out: int | None = None, reads: tuple[int, ...] = ()
) -> ResidualUnit:
    out = out or width
    skip = nn.Identity() if out == width else nn.Linear(width, out)
    branch: nn.Module = nn.Linear(width, out)
    if reads:
        branch = Piece(Scaled(), reads)
    return ResidualUnit(
        index,
        f"u{index}",
        skip,
        branch,
        in_shape=(width,),
        out_shape=(out,),
        transition=out != width,
    )


class Scaled(nn.Module):
    def forward(self, h: Tensor, factor: Tensor) -> Tensor:
        return h * factor


class Stem(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor]]:
        return x, (torch.full_like(x, 3.0),)


@pytest.fixture
def network() -> ResidualNetwork:
    """Unit 1 reads the side input, unit 2 widens, a bridge is before 4, the head reads before 0 and 4."""
    torch.manual_seed(0)
    units = (unit(0, 4), unit(1, 4, reads=(0,)), unit(2, 4, 6), unit(3, 6), unit(4, 6), unit(5, 6))
    bridges = (None, None, None, None, nn.Linear(6, 6), None)
    return ResidualNetwork(Stem(), units, Read(), bridges, taps=(0, 4))


def test_the_walk_by_hand(network: ResidualNetwork) -> None:
    x = torch.randn(3, 4)
    u, bridge = network.units, network.bridges[4]
    assert bridge is not None
    h = x + u[0].branch(x)
    h = h + h * 3
    h = u[2].skip(h) + u[2].branch(h)
    h = h + u[3].branch(h)
    read = h
    h = bridge(h)
    h = h + u[4].branch(h)
    h = h + u[5].branch(h)
    side = torch.full_like(x, 3.0)
    for found, wanted in zip(network(x), (h, side, x, read), strict=True):
        assert torch.equal(found, wanted)


def test_a_step_takes_the_place_of_the_unit(network: ResidualNetwork) -> None:
    seen: list[tuple[int, int]] = []

    def step(one: ResidualUnit, h: Tensor, side: Side) -> Tensor:
        seen.append((one.index, len(side)))
        return one.without_branch(h, side)

    x = torch.randn(3, 4)
    h, side = network.walk(*network.enter(x), step)
    # One side input, and one more at each place where the head reads the stream.
    assert seen == [(0, 2), (1, 2), (2, 2), (3, 2), (4, 3), (5, 3)]
    assert len(side) == 3
    bridge = network.bridges[4]
    assert bridge is not None
    assert torch.equal(h, bridge(network.units[2].skip(x)))


def test_the_chain_says_what_lies_before_each_unit(network: ResidualNetwork) -> None:
    places = list(network.chain())
    assert [place.unit.index for place in places] == list(range(6))
    assert [place.tapped for place in places] == [True, False, False, False, True, False]
    assert [place.bridge is not None for place in places] == [False] * 4 + [True, False]


def test_runs_are_ended_by_transitions_bridges_and_places_that_are_read(
    network: ResidualNetwork,
) -> None:
    assert network.runs() == [(0, 1), (3,), (4, 5)]
    by_hand: list[tuple[int, ...]] = []
    for first in range(6):
        for last in range(first, 6):
            inside = range(first, last + 1)
            same = all(network.units[i].in_shape == network.units[i].out_shape for i in inside)
            if same and all(network.joined(i) for i in inside[1:]):
                by_hand.append(tuple(inside))
    longest = [run for run in by_hand if not any(set(run) < set(other) for other in by_hand)]
    assert network.runs() == longest
