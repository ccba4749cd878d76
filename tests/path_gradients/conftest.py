"""Tiny networks written out by hand, one for each way a residual network is built."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from resanalysis.network import Piece, ResidualNetwork, ResidualUnit
from resanalysis.path_gradients import Tape, freeze, record

WIDTH, IMAGES, CLASSES = 5, 3, 4


def layers(width: int = WIDTH, out: int | None = None) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, out or width))


def chain(units: list[ResidualUnit], **parts: object) -> ResidualNetwork:
    width = units[-1].out_shape[0] if units[-1].out_shape else WIDTH
    given: dict[str, object] = {"stem": nn.Linear(6, WIDTH), "head": nn.Linear(width, CLASSES)}
    return ResidualNetwork(units=tuple(units), **(given | parts))  # type: ignore[arg-type]


def post_activation() -> ResidualNetwork:
    return chain([ResidualUnit(i, f"u{i}", nn.Identity(), layers(), nn.ReLU()) for i in range(8)])


def pre_activation() -> ResidualNetwork:
    return chain(
        [
            ResidualUnit(i, f"u{i}", nn.Identity(), nn.Sequential(nn.ReLU(), layers()))
            for i in range(6)
        ]
    )


def projections_and_bridges() -> ResidualNetwork:
    """Unit 2 projects to another width; plain layers run before units 1 and 4; unit 3 has no skip."""
    wide = WIDTH + 2
    units = [ResidualUnit(i, f"u{i}", nn.Identity(), layers(), nn.ReLU()) for i in range(2)]
    shapes = {"in_shape": (WIDTH,), "out_shape": (wide,)}
    projection, branch = nn.Linear(WIDTH, wide), layers(WIDTH, wide)
    units.append(ResidualUnit(2, "u2", projection, branch, nn.ReLU(), **shapes))  # type: ignore[arg-type]
    same = {"in_shape": (wide,), "out_shape": (wide,)}
    units.append(ResidualUnit(3, "u3", nn.Identity(), layers(wide), skip_kind="none", **same))  # type: ignore[arg-type]
    units += [ResidualUnit(i, f"u{i}", nn.Identity(), layers(wide), **same) for i in (4, 5)]  # type: ignore[arg-type]
    bridges = (
        None,
        nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()),
        None,
        None,
        layers(wide),
        None,
    )
    return chain(units, bridges=bridges)


class Carry(nn.Module):
    """``(1 − t(h)) · h``, the carry gate of a highway unit; or its transform, ``t(h) · H(h)``."""

    def __init__(self, gate: nn.Module, transform: nn.Module | None = None) -> None:
        super().__init__()
        self.gate, self.transform = gate, transform

    def forward(self, h: Tensor) -> Tensor:
        t = torch.sigmoid(self.gate(h))
        return (1 - t) * h if self.transform is None else t * self.transform(h)


def gates() -> ResidualNetwork:
    units: list[ResidualUnit] = []
    for i in range(4):
        gate = nn.Linear(WIDTH, WIDTH)
        units.append(ResidualUnit(i, f"u{i}", Carry(gate), Carry(gate, layers()), skip_kind="gate"))
    return chain(units)


class Scaled(nn.Module):
    def forward(self, h: Tensor, factor: Tensor) -> Tensor:
        return torch.tanh(h * factor)


class WithSide(nn.Module):
    """A stem that makes a side input of its own weights."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, WIDTH)
        self.register_buffer("factor", torch.linspace(0.5, 2, WIDTH))

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self.linear(x), (self.factor.expand(len(x), WIDTH),)


def side_inputs() -> ResidualNetwork:
    units = [
        ResidualUnit(i, f"u{i}", nn.Identity(), Piece(Scaled(), (0,)), nn.LayerNorm(WIDTH))
        for i in range(3)
    ]
    return chain(units, stem=WithSide())


NETWORKS: dict[str, Callable[[], ResidualNetwork]] = {
    "post-activation": post_activation,
    "pre-activation": pre_activation,
    "projections, bridges, a plain layer": projections_and_bridges,
    "gates": gates,
    "side inputs, post-norm": side_inputs,
}


@pytest.fixture(params=list(NETWORKS))
def network(request: pytest.FixtureRequest) -> ResidualNetwork:
    torch.manual_seed(3)
    return freeze(NETWORKS[request.param](), dtype=torch.float64)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    images = torch.randn(IMAGES, 6, generator=generator, dtype=torch.float64)
    return images, torch.randint(CLASSES, (IMAGES,), generator=generator)


@pytest.fixture(params=["input", "first-unit"])
def at(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def tape(network: ResidualNetwork, batch: tuple[Tensor, Tensor], at: str) -> Tape:
    return record(network, *batch, at=at)  # type: ignore[arg-type]
