"""Each measure of one unit against the formula written out for one vector at a time."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import resanalysis as ra
from resanalysis.measures.passage import (
    Passage,
    angular_distances,
    batch_norm_scale,
    cosines,
    gate_bias,
    image_mean,
    learned_scale,
    norms,
    passages,
    transform_gate,
)
from tests.conftest import cifar


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.ravel().astype(float), b.ravel().astype(float)
    return float(a @ b / math.sqrt(a @ a) / math.sqrt(b @ b))


def test_an_image_is_one_vector_a_token_is_one() -> None:
    image, other = random(3, 4, 5, 5), random(3, 4, 5, 5, seed=1)
    for i in range(3):
        assert norms(image)[i].item() == pytest.approx(np.linalg.norm(image[i].numpy()))
        assert cosines(image, other)[i].item() == pytest.approx(
            cosine(image[i].numpy(), other[i].numpy())
        )
    tokens, more = random(2, 6, 8), random(2, 6, 8, seed=1)
    assert norms(tokens).shape == (2, 6)
    for i in range(2):
        for t in range(6):
            found = cosines(tokens, more)[i, t].item()
            assert found == pytest.approx(cosine(tokens[i, t].numpy(), more[i, t].numpy()))


def test_masked_tokens_and_zero_vectors_are_left_out() -> None:
    values = torch.tensor([[1.0, 2.0, 6.0], [4.0, float("nan"), 8.0]])
    kept = torch.tensor([[True, True, False], [True, True, True]])
    assert image_mean(values, kept).tolist() == [1.5, 6.0]
    assert image_mean(values).tolist() == [3.0, 6.0]
    zero = torch.zeros(1, 2, 3)
    assert cosines(zero, torch.ones(1, 2, 3)).isnan().all()


def test_angular_distances() -> None:
    streams = [random(2, 3, 4, seed=seed) for seed in range(3)]
    found = angular_distances(streams)
    assert found.shape == (3, 3, 2, 3)
    for a in range(3):
        for b in range(3):
            for i in range(2):
                for t in range(3):
                    one, two = streams[a][i, t].numpy(), streams[b][i, t].numpy()
                    angle = math.acos(min(1.0, cosine(one, two))) / math.pi
                    assert found[a, b, i, t].item() == pytest.approx(angle, abs=1e-7)
    opposite = angular_distances([streams[0], -streams[0]])
    assert opposite[0, 1].allclose(torch.ones(2, 3, dtype=torch.float64))


def test_passages_are_the_chain() -> None:
    model = cifar(14)
    x = random(2, 3, 16, 16)
    network = ra.unravel(model, x)
    with torch.no_grad():
        h, side = network.enter(x)
        passed: list[Passage] = []
        left = passages(network, h, side, passed.append)
        assert torch.allclose(network.leave(*left), model(x), atol=1e-5)
        for before, after in pairwise(passed):
            assert torch.equal(before.left, after.entered)
        block = model.layer1[1]  # type: ignore[index]
        h1 = passed[1].entered
        branch = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(h1)))))
        assert torch.allclose(passed[1].branch, branch, atol=1e-5)
        assert passed[1].skip is not None
        assert torch.equal(passed[1].skip, h1)


class Gated(nn.Module):
    """Two highway layers of width 4, then a linear head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.h = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.t = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        for h, t in zip(self.h, self.t, strict=True):
            gate = torch.sigmoid(t(x))
            x = gate * torch.relu(h(x)) + (1 - gate) * x
        return self.head(x)


def test_transform_gates_are_those_of_the_module() -> None:
    model = Gated().eval()
    x = random(5, 4)
    network = ra.unravel(model, x)
    with torch.no_grad():
        h, side = network.enter(x)
        passed: list[Passage] = []
        passages(network, h, side, passed.append)
        first, second = passed
        assert first.unit.skip_kind == "gate"
        assert torch.allclose(
            transform_gate(first).float(), torch.sigmoid(model.t[0](x)).mean(1), atol=1e-5
        )
        gate = torch.sigmoid(model.t[1](first.left)).mean(1)
        assert torch.allclose(transform_gate(second).float(), gate, atol=1e-4)
    for unit, gate in zip(network.units, model.t, strict=True):
        assert gate_bias(unit.skip) == pytest.approx(gate.bias.mean().item())


def test_gates_without_a_bias_and_other_skips_have_none() -> None:
    model = Gated().eval()
    model.t[0] = nn.Linear(4, 4, bias=False)
    network = ra.unravel(model, random(5, 4))
    assert gate_bias(network.units[0].skip) is None
    assert gate_bias(network.units[1].skip) is not None
    residual = ra.unravel(cifar(8), torch.randn(2, 3, 16, 16))
    assert all(gate_bias(unit.skip) is None for unit in residual.units)


def test_scale_of_the_last_batch_norm_and_of_layer_scale() -> None:
    model = cifar(8)
    network = ra.unravel(model, random(2, 3, 16, 16))
    for unit, block in zip(
        network.units, [model.layer1[0], model.layer2[0], model.layer3[0]], strict=True
    ):  # type: ignore[index]
        expected = float(block.bn2.weight.detach().abs().double().mean())
        assert batch_norm_scale(unit.branch) == pytest.approx(expected)
        assert learned_scale(unit.branch) is None

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 4)
            self.gamma = nn.Parameter(torch.tensor([0.1, -0.2, 0.3, -0.4]))
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.gamma * torch.relu(self.inner(x))
            x = x + 0.5 * self.inner(x)
            return self.head(x)

    units = ra.unravel(Scaled().eval(), random(2, 4)).units
    assert learned_scale(units[0].branch) == pytest.approx(0.25)
    assert learned_scale(units[1].branch) == pytest.approx(0.5)
    assert batch_norm_scale(units[0].branch) is None
