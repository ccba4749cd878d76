"""Shortened models against routes and loops: every kind of unit, and as exported graphs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import resanalysis as ra
from resanalysis.network import Inputs, Piece, ResidualNetwork, ResidualUnit
from resanalysis.routes.route import Route, without
from resanalysis.routes.shortening import exported
from resanalysis.routes.tree import run_step
from tests.conftest import cifar
from tests.reference import post_activation_pass


def along(network: ResidualNetwork, route: Route, inputs: Inputs) -> Tensor:
    """The output of a route, step by step."""
    with torch.no_grad():
        h, side = network.enter(inputs)
        for step in route.steps:
            h, side = run_step(network, step, h, side)
        return network.leave(h, side)


def images(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def network() -> ResidualNetwork:
    return ra.unravel(cifar(14), images(2))


@pytest.mark.parametrize("gone", [(), (1,), (3, 1), (2, 4), range(6)])
def test_it_computes_the_route_and_the_loop(
    network: ResidualNetwork, gone: tuple[int, ...]
) -> None:
    model, x = cifar(14), images(3)
    flags = [module.training for part in network.parts().values() for module in part.modules()]
    short = ra.shortened(network, gone)
    assert not short.training
    after = [module.training for part in network.parts().values() for module in part.modules()]
    assert after == flags
    with torch.no_grad():
        output = short(x)
    torch.testing.assert_close(output, along(network, without(network, gone), x), rtol=0, atol=0)
    loop = post_activation_pass(
        model, x, range(6), lambda u, skip, branch: skip if u in gone else skip + branch
    )
    torch.testing.assert_close(output, loop, rtol=1e-4, atol=1e-5)
    if gone:
        assert not torch.allclose(output, model(x), atol=1e-3)


def test_units_of_other_kinds() -> None:
    """A carry gate, pieces with no graph for the whole, plain layers, and a bridge."""
    torch.manual_seed(0)

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.h, self.t = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            t = torch.sigmoid(self.t(x))
            return t * torch.relu(self.h(x)) + (1 - t) * x

    model = nn.Sequential(nn.Linear(3, 6), Gated(), Gated(), Gated(), nn.Linear(6, 2)).eval()
    x = torch.randn(4, 3)
    network = ra.unravel(model, x)
    assert network.units[1].skip_kind == "gate"
    with torch.no_grad():
        h = model[3](model[1](model[0](x)))
        torch.testing.assert_close(ra.shortened(network, [1])(x), model[4](h))
    units = (
        ResidualUnit(0, "a.0", nn.Identity(), nn.Linear(6, 6), nn.ReLU()),
        ResidualUnit(1, "a", nn.Identity(), nn.Linear(6, 6), nn.Tanh()),
        ResidualUnit(2, "b", nn.Identity(), nn.Linear(6, 6), skip_kind="none",
                     in_shape=(6,), out_shape=(6,)),
    )  # fmt: skip
    bridges = (None, nn.Linear(6, 6), None)
    network = ResidualNetwork(nn.Linear(3, 6), units, nn.Linear(6, 2), bridges)
    with torch.no_grad():
        for gone in [(), (0,), (1,), (2,), (0, 1, 2)]:
            expected = along(network, without(network, gone), x)
            torch.testing.assert_close(ra.shortened(network, gone)(x), expected)
        torch.testing.assert_close(ra.shortened(network, ())(x), network(x))


def test_a_head_that_reads_the_stream_on_the_way() -> None:
    class Both(nn.Module):
        def forward(self, h: Tensor, tapped: Tensor) -> dict[str, Tensor]:
            return {"last": h, "first": tapped}

    torch.manual_seed(0)
    x = torch.randn(4, 6)
    units = tuple(ResidualUnit(i, f"u.{i}", nn.Identity(), nn.Linear(6, 6)) for i in range(3))
    bridges = (None, nn.Linear(6, 6), None)
    network = ResidualNetwork(nn.Identity(), units, Piece(Both(), (0,)), bridges, taps=(1,))
    with torch.no_grad():
        first = x + units[0].branch(x)
        last = first @ bridges[1].weight.T + bridges[1].bias  # type: ignore[union-attr]
        last = last + units[2].branch(last)
        expected = {"last": last, "first": first}
        torch.testing.assert_close(ra.shortened(network, [1])(x), expected)
        torch.testing.assert_close(exported(network, [1], x).module()(x), expected)


def test_what_cannot_go() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 5),
    )  # fmt: skip
    network = ra.unravel(model.eval(), images(2), plain=True)
    with pytest.raises(
        ValueError, match=r"unit 0 \(.*\) is a plain layer that changes the stream's"
    ):
        ra.shortened(network, [0])
    network = ra.unravel(cifar(8), images(2))
    with pytest.raises(ValueError, match=r"the network has units 0 to 2, got \[7\]"):
        ra.shortened(network, [7])


def test_a_network_of_one_batch_size() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            x = x.reshape(int(x.shape[0]), 6)  # the capture fixes the batch size here
            for layer in self.layers:
                x = x + torch.relu(layer(x))
            return x

    torch.manual_seed(0)
    x = torch.randn(4, 6)
    network = ra.unravel(Fixed().eval(), x)
    assert network.batch_size == 4
    module = exported(network, [1], x[:1]).module()
    with torch.no_grad():
        torch.testing.assert_close(module(x), along(network, without(network, [1]), x))
