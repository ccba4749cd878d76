"""Units that are gone for good give what the route without them gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import resanalysis as ra
from resanalysis.measures.passage import Passage, passages
from resanalysis.models.highway import highway
from resanalysis.network import ResidualNetwork
from resanalysis.routes.shortening import Shortened
from resanalysis.routes.taken_out import taken_out
from tests.conftest import cifar
from tests.experiments.one_by_one import Plain


def networks(images: Tensor) -> list[ResidualNetwork]:
    torch.manual_seed(3)
    gated = highway(10, width=4, classes=5, channels=3).eval()
    return [
        ra.unravel(cifar(14), images[:2]),
        ra.unravel(cifar(14, shortcut="B", version=2), images[:2]),
        ra.unravel(gated, images[:2]),
        ra.unravel(Plain().eval(), images[:2], plain=True),
    ]


def test_it_is_the_route_without_them(images: Tensor) -> None:
    for network in networks(images):
        units = [unit.index for unit in network.units if unit.deletable]
        for gone in ([], units[:1], units[-2:], units):
            made = taken_out(network, gone)
            with torch.no_grad():
                expected = ra.shortened(network, gone)(images)
                torch.testing.assert_close(made(images), expected)
                torch.testing.assert_close(Shortened(made, ())(images), expected)
                zeros: list[int] = []

                def see(passage: Passage, zeros: list[int] = zeros) -> None:
                    if (passage.branch == 0).all():
                        zeros.append(passage.unit.index)

                passages(made, *made.enter(images), see)
                assert zeros == gone


def test_it_refuses_what_cannot_go(images: Tensor) -> None:
    plain = networks(images)[-1]
    with pytest.raises(ra.ResanalysisError, match="changes the stream's shape and cannot be"):
        taken_out(plain, [0])
