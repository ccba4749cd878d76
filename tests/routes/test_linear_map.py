"""Maps of channels against loops over places; folded into a neighbour they compute the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import resanalysis as ra
from resanalysis.network import ResidualNetwork
from resanalysis.routes.linear_map import ChannelMap, by_channel, channel_axis, with_maps
from resanalysis.routes.shortening import Shortened
from resanalysis.statistics.least_squares import Affine
from tests.conftest import cifar
from tests.experiments.one_by_one import logits_without


def a_map(channels: int, axis: int = 1) -> ChannelMap:
    rng = np.random.default_rng(channels)
    weight = np.eye(channels) + 0.3 * rng.normal(size=(channels, channels))
    return ChannelMap(Affine(weight, rng.normal(size=channels)), axis, torch.zeros(1))


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((7,), 1), ((5, 7), 2), ((4, 8, 8), 1), ((8, 8, 4), 3), ((8, 8, 8), 1), ((2, 3, 4, 5), 1)],
)
def test_every_place_is_mapped_alike(shape: tuple[int, ...], axis: int) -> None:
    assert channel_axis(shape) == axis
    h = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    channels = shape[axis - 1]
    made = a_map(channels, axis)
    rows = by_channel(h)
    assert rows.shape == (h.numel() // channels, channels)
    expected = torch.stack([made.weight @ row + made.bias for row in rows])
    torch.testing.assert_close(by_channel(made(h)), expected, atol=1e-5, rtol=1e-5)


def chain_with(network: ResidualNetwork, x: Tensor, gone: set[int], maps: dict[int, Any]) -> Tensor:
    with torch.no_grad():
        h, side = network.enter(x)
        for unit in network.units:
            h = unit.without_branch(h, side) if unit.index in gone else unit(h, side)
            h = maps[unit.index](h) if unit.index in maps else h
        return network.leave(h, side)


@pytest.mark.parametrize(
    ("options", "gone", "behind", "changed"),
    [
        ({"version": 2}, {0, 1}, {1: 4}, ["stem"]),  # the stem ends in a convolution
        ({"version": 2}, {3}, {3: 8}, []),  # between two sums
        ({"version": 1}, {4, 5}, {5: 16}, ["head"]),  # pooled, then linear
        ({"version": 2}, {5}, {5: 16}, []),  # batch norm and ReLU before the head
        ({"version": 2, "shortcut": "B"}, {2}, {2: 8}, ["unit2.skip"]),  # ends in a projection
        ({"version": 1, "shortcut": "B"}, {2}, {2: 8}, []),  # a ReLU behind it
        ({"version": 1}, {0, 1}, {1: 4}, []),  # the stem ends in a ReLU
        ({"version": 2}, set(range(6)), {1: 4, 5: 16}, ["stem"]),
    ],
)
def test_maps_compute_what_a_loop_does_folded_or_not(
    options: Any, gone: set[int], behind: dict[int, int], changed: list[str], images: Tensor
) -> None:
    network = ra.unravel(cifar(14, **options), images[:2])
    maps = {unit: a_map(channels) for unit, channels in behind.items()}
    expected = chain_with(network, images, gone, maps)
    for fold in (False, True):
        made = with_maps(network, sorted(gone), maps, fold=fold)
        with torch.no_grad():
            torch.testing.assert_close(made(images), expected, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(Shortened(made, ())(images), expected, atol=1e-4, rtol=1e-4)
        left = sum(isinstance(m, ChannelMap) for m in Shortened(made, ()).modules())
        assert left == len(maps) - (len(changed) if fold else 0)
    old, new = network.parts(), with_maps(network, sorted(gone), maps).parts()
    places = [name for name in ("stem", "head", "unit2.skip") if new[name] is not old[name]]
    assert places == changed
    with torch.no_grad():  # the network given is as it was
        torch.testing.assert_close(logits_without(network, images, []).float(), network(images))
