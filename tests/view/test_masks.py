"""Masks and indices made from the stream are computed from the stream of the route, not of the intact pass."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import resanalysis as ra


class Leaky(nn.Module):
    """Branches with an activation that is written as a mask."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor, without: int | None = None) -> Tensor:
        for number, layer in enumerate(self.layers):
            y = layer(x)
            if number != without:
                x = x + torch.where(y > 0, y, 0.1 * y)
        return self.head(x)


class Routed(nn.Module):
    """Each unit sends every example to the one of three experts that its own stream chooses."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gates = nn.ModuleList(nn.Linear(8, 3) for _ in range(3))
        self.experts = nn.ParameterList(torch.randn(3, 8, 8) / 3 for _ in range(3))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor, without: int | None = None) -> Tensor:
        for number, (gate, experts) in enumerate(zip(self.gates, self.experts, strict=True)):
            chosen = gate(x).argmax(-1)
            branch = torch.einsum("nij,nj->ni", experts[chosen], x)
            if number != without:
                x = x + branch
        return self.head(x)


@pytest.mark.parametrize("kind", [Leaky, Routed])
def test_a_lesion_decides_the_later_masks_anew(kind: type[nn.Module]) -> None:
    model = kind().eval()
    x = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    network = ra.unravel(model, x)
    with torch.no_grad():
        h0, side = network.enter(x)
        assert not side
        for lesioned in range(3):
            h = h0
            for unit in network.units:
                h = unit.without_branch(h) if unit.index == lesioned else unit(h)
            assert torch.allclose(network.leave(h), model(x, without=lesioned), atol=1e-5)


class Remembering(nn.Module):
    """The second unit's mask is made from the stream before the first."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Linear(8, 8)
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + torch.relu(self.layers[0](x))
        open_ = x > 0
        x = x + torch.relu(self.layers[1](x))
        x = x + torch.where(open_, self.layers[2](x), 0.0)
        return self.head(x)


def test_a_mask_from_an_earlier_stream_is_an_error() -> None:
    with pytest.raises(ra.UnravelError, match=r"before an earlier unit .* by a mask or an index"):
        ra.unravel(Remembering().eval(), torch.randn(4, 8))
