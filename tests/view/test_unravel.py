"""The view equals the model, and its pieces are the model's own parts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from torch import Tensor, nn

from resanalysis import UnravelError, image_dataset, stream, unravel
from resanalysis.models.cifar_resnet import CifarResNet
from resanalysis.network import ResidualNetwork
from resanalysis.view.check import check_view
from tests.conftest import cifar, settle

LONG = (pytest.mark.slow, pytest.mark.nightly)  # as another of its kind, but for its size
FAMILIES = [
    # name, units, stages, transitions, bridges
    ("resnet18", 8, 4, 3, 0),
    pytest.param("resnet34", 16, 4, 3, 0, marks=LONG),
    ("resnet50", 16, 4, 4, 0),
    pytest.param("resnet101", 33, 4, 4, 0, marks=LONG),
    pytest.param("resnet152", 50, 4, 4, 0, marks=LONG),
    pytest.param("resnext50_32x4d", 16, 4, 4, 0, marks=LONG),
    pytest.param("wide_resnet50_2", 16, 4, 4, 0, marks=LONG),
    ("mobilenet_v2", 10, 5, 0, 4),
    ("convnext_tiny", 18, 4, 0, 3),
]


def narrow(name: str) -> nn.Module:
    torch.manual_seed(0)
    small = {"width_per_group": 4} if name in {"resnet50", "resnet101", "resnet152"} else {}
    return settle(getattr(torchvision.models, name)(weights=None, num_classes=7, **small))


@pytest.mark.parametrize(("name", "units", "stages", "transitions", "bridges"), FAMILIES)
def test_torchvision_families(
    name: str, units: int, stages: int, transitions: int, bridges: int
) -> None:
    model = narrow(name)
    x = torch.randn(3, 3, 64, 64)
    network = unravel(model, x)
    assert len(network) == units
    assert network.units[-1].stage == stages - 1
    assert sum(unit.transition for unit in network.units) == transitions
    assert sum(bridge is not None for bridge in network.bridges) == bridges
    with torch.no_grad():
        torch.testing.assert_close(network(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_cifar_resnets(version: int, shortcut: str, images: Tensor) -> None:
    model = cifar(14, version=version, shortcut=shortcut)
    network = unravel(model, images[:2])
    with torch.no_grad():
        torch.testing.assert_close(network(images), model(images), rtol=1e-4, atol=1e-5)
    assert [unit.name for unit in network.units] == [
        f"layer{s}.{i}" for s in (1, 2, 3) for i in (0, 1)
    ]
    assert [unit.stage for unit in network.units] == [0, 0, 1, 1, 2, 2]
    assert [unit.transition for unit in network.units] == [False, False, True, False, True, False]
    kind = "pad" if shortcut == "A" else "projection"
    assert [unit.skip_kind for unit in network.units[1:4]] == ["identity", kind, "identity"]
    expected = sum(p.numel() for p in model.layer2[0].parameters())  # type: ignore[index, union-attr]
    assert network.units[2].parameters == expected
    joined = [not isinstance(unit.join, nn.Identity) for unit in network.units]
    assert joined == [version == 1] * 6


def test_pieces_are_the_parts_of_a_block(images: Tensor) -> None:
    model = cifar(8)
    network = unravel(model, images[:2])
    unit, block = network.units[1], model.layer2[0]
    with torch.no_grad():
        h = torch.relu(model.bn1(model.conv1(images)))
        torch.testing.assert_close(network.enter(images)[0], h)
        h = model.layer1(h)
        branch = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(h)))))
        torch.testing.assert_close(unit.branch(h), branch, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(unit.skip(h), block.shortcut(h))
        torch.testing.assert_close(unit.join(branch), branch.relu())
        torch.testing.assert_close(unit(h), block(h), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(unit.without_branch(h), block.shortcut(h).relu())
        torch.testing.assert_close(unit.without_skip(h), branch.relu(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            unit.scaled(h, 0.5), (block.shortcut(h) + 0.5 * branch).relu(), rtol=1e-4, atol=1e-5
        )


def test_shared_preactivation_of_a_projection_belongs_to_both(images: Tensor) -> None:
    model = cifar(8, version=2, shortcut="B")
    network = unravel(model, images[:2])
    unit, block = network.units[1], model.layer2[0]
    h = torch.randn(2, 4, 16, 16)
    with torch.no_grad():
        activated = torch.relu(block.bn1(h))
        torch.testing.assert_close(unit.skip(h), block.shortcut(activated))
        torch.testing.assert_close(unit(h), block(h), rtol=1e-4, atol=1e-5)
    assert network.bridges == (None, None, None)


def test_in_place_operations_do_not_reach_the_stream(images: Tensor) -> None:
    network = unravel(settle(torchvision.models.resnet18(weights=None)), torch.randn(2, 3, 32, 32))
    h = torch.randn(2, 64, 8, 8)
    kept = h.clone()
    with torch.no_grad():
        network.units[0](h), network.units[0].branch(h), network.units[0].join(h)
    assert torch.equal(h, kept)


def test_pieces_are_differentiable_and_the_model_is_left_alone(images: Tensor) -> None:
    model = cifar(8).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    network = unravel(model, images[:2])
    assert model.training
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    x = images[:2].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(x).sum(), x)
    model.eval()
    (expected,) = torch.autograd.grad(model(x).sum(), x)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())


def test_another_device_type_leaves_the_model_alone(images: Tensor) -> None:
    model = cifar(8)
    network = unravel(model, images[:2])
    double = network.to("cpu", torch.float64)
    assert next(model.parameters()).dtype is torch.float32
    assert next(iter(network.units[0].branch.parameters())).dtype is torch.float32
    with torch.no_grad():
        torch.testing.assert_close(
            double(images.double()), model.double()(images.double()), rtol=1e-10, atol=1e-10
        )


class Highway(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 8)
        self.transform = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.gate = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.out = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.inner(x))
        for transform, gate in zip(self.transform, self.gate, strict=True):
            t = torch.sigmoid(gate(x))
            x = t * torch.relu(transform(x)) + (1 - t) * x
        return self.out(x)


def test_highway_gates_are_skips_that_carry() -> None:
    torch.manual_seed(0)
    model = Highway()
    network = unravel(model, torch.randn(4, 6))
    assert [unit.skip_kind for unit in network.units] == ["gate"] * 3
    assert [unit.name for unit in network.units] == ["transform.0", "transform.1", "transform.2"]
    h = torch.randn(3, 8)
    with torch.no_grad():
        gate = torch.sigmoid(model.gate[1](h))
        torch.testing.assert_close(network.units[1].skip(h), (1 - gate) * h)
        assert torch.equal(network.units[1].without_branch(h), h)


class ScaledSum(nn.Module):
    """x + 0.3 · f(x) + g(x), by the addition's own factor, and a Res2Net-like addition inside."""

    def __init__(self) -> None:
        super().__init__()
        self.f, self.g = nn.Linear(5, 5), nn.Linear(5, 5)
        self.out = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(2):
            y = torch.tanh(self.f(x))
            x = torch.add(x, y + self.g(y), alpha=0.3)
        return self.out(x)


def test_factors_and_inner_additions_stay_in_the_branch() -> None:
    torch.manual_seed(0)
    model = ScaledSum()
    network = unravel(model, torch.randn(4, 5))
    assert len(network) == 2
    h = torch.randn(3, 5)
    with torch.no_grad():
        y = torch.tanh(model.f(h))
        torch.testing.assert_close(network.units[0].branch(h), 0.3 * (y + model.g(y)))
    assert network.units[0].skip_kind == "identity"


class ThreeTerms(nn.Module):
    """GPT-NeoX: x + attention + MLP, one unit whose branch is the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x).tanh() + self.b(x) + x
        x = x + self.a(x) + self.b(x).tanh()
        return self.out(x)


def test_a_sum_of_three_terms_is_one_unit() -> None:
    torch.manual_seed(0)
    model = ThreeTerms()
    network = unravel(model, torch.randn(4, 5))
    assert [unit.skip_kind for unit in network.units] == ["identity", "identity"]
    h = torch.randn(3, 5)
    with torch.no_grad():
        torch.testing.assert_close(network.units[0].branch(h), model.a(h).tanh() + model.b(h))
        torch.testing.assert_close(network.units[1].branch(h), model.a(h) + model.b(h).tanh())


class Bypass(nn.Module):
    """The first branch is added to the stream, and is the input of the third branch too."""

    def __init__(self, swapped: bool) -> None:
        super().__init__()
        self.stem, self.out, self.swapped = nn.Linear(5, 5), nn.Linear(5, 3), swapped
        self.blocks = nn.ModuleList(nn.Linear(5, 5) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        first = self.blocks[0](h)
        inner = h + first
        inner = inner + self.blocks[1](inner)
        third = self.blocks[2](first)
        h = third + inner if self.swapped else inner + third
        return self.out(h + self.blocks[3](h))


@pytest.mark.parametrize("swapped", [False, True])
def test_a_unit_around_a_bypass_is_what_its_name_says(swapped: bool) -> None:
    torch.manual_seed(0)
    model = Bypass(swapped)
    x = torch.randn(4, 5)
    network = unravel(model, x)
    assert [unit.name for unit in network.units] == ["blocks.2", "blocks.3"]
    for lesioned, unit in enumerate(network.units):
        with torch.no_grad():
            h = network.enter(x)[0]
            for index, other in enumerate(network.units):
                h = other.without_branch(h) if index == lesioned else other(h)
            handle = model.get_submodule(unit.name).register_forward_hook(
                lambda _module, _inputs, output: torch.zeros_like(output)
            )
            torch.testing.assert_close(network.leave(h), model(x))
            handle.remove()


class Tokens(nn.Module):
    """Units on tokens (N, T, C), or with the tokens first, as CLIP's and torch's own transformers have them."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.first = first
        self.patches = nn.Conv2d(1, 8, 4, stride=4)
        self.units = nn.Sequential(*(TokenUnit() for _ in range(3)))
        self.out = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.patches(x).flatten(2)
        h = self.units(h.permute(2, 0, 1) if self.first else h.transpose(1, 2))
        return self.out(h.mean(0 if self.first else 1))


class TokenUnit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.outer(torch.relu(self.inner(h)))


@pytest.mark.parametrize("part", [None, "units"])
def test_a_stream_with_its_tokens_first_is_handed_on_by_example(part: str | None) -> None:
    usual, turned = settle(Tokens(False)), settle(Tokens(True))
    turned.load_state_dict(usual.state_dict())
    x = torch.randn(9, 1, 12, 12)  # as many examples as tokens: shapes alone would not tell
    one, other = (unravel(model, x, submodule=part) for model in (usual, turned))
    assert other.batch_size is None
    assert [unit.in_shape for unit in other.units] == [(9, 8)] * 3
    with torch.no_grad():
        torch.testing.assert_close(other(x[:4]), turned(x[:4]))
        h, turned_h = one.enter(x)[0], other.enter(x)[0]
        for unit, same in zip(one.units, other.units, strict=True):
            torch.testing.assert_close(same.branch(turned_h), unit.branch(h))
            h, turned_h = unit(h), same(turned_h)
    data = image_dataset(
        np.random.default_rng(0).integers(0, 256, (11, 1, 12, 12), dtype=np.uint8),
        np.arange(11) % 5,
        mean=[0.5],
        std=[0.5],
    )
    tables = [stream(network, data, batch_size=9) for network in (one, other)]
    pd.testing.assert_frame_equal(*tables, rtol=1e-5)


class Random(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.f(x) + torch.rand_like(x)


def test_a_view_that_differs_is_refused() -> None:
    with pytest.raises(UnravelError, match=r"does not compute what the model does: on the example"):
        unravel(Random(), torch.randn(4, 5))


def test_check_view_can_fail(images: Tensor) -> None:
    model = cifar(8)
    network = unravel(model, images[:2])
    assert check_view(network, model, images) < 1e-5
    other = cifar(8)
    with torch.no_grad():
        other.conv1.weight.mul_(1.1)
    with pytest.raises(UnravelError, match="the outputs differ by"):
        check_view(network, other, images)


def test_a_model_whose_own_output_is_not_finite_is_named(images: Tensor) -> None:
    model = cifar(8)
    with torch.no_grad():
        model.linear.bias[0] = float("inf")
    with pytest.raises(UnravelError, match="the output of CifarResNet itself is NaN or infinite"):
        unravel(model, images[:2])


def test_a_network_without_skips_is_refused() -> None:
    model = nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 3))
    with pytest.raises(
        UnravelError,
        match=r"3 tensor operations, 0 additions, and there is no addition of two tensors",
    ):
        unravel(model, torch.randn(4, 5))


def test_densenet_is_refused() -> None:
    model = torchvision.models.densenet._densenet(4, (1, 1), 8, None, False)
    with pytest.raises(UnravelError, match="concatenations"):
        unravel(model, torch.randn(2, 3, 32, 32))


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            x = x + self.f(x)
        return x


def test_control_flow_on_values_names_the_line() -> None:
    with pytest.raises(UnravelError, match=r"test_unravel.py:\d+ `if x.sum\(\) > 0:`.*--submodule"):
        unravel(Branching(), torch.randn(4, 5))


def test_an_example_that_does_not_fit_is_named() -> None:
    with pytest.raises(
        UnravelError, match=r"CifarResNet cannot be called with the example \(float32 \(2, 7"
    ):
        unravel(cifar(8), torch.randn(2, 7, 16, 16))


def test_plain_network_is_a_chain_of_layers() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3),
    )  # fmt: skip
    x = torch.randn(2, 3, 8, 8)
    network = unravel(model, x, plain=True)
    assert [unit.name for unit in network.units] == ["0", "2", "5"]
    assert [unit.deletable for unit in network.units] == [False, True, True]
    with torch.no_grad():
        torch.testing.assert_close(network(x), model(x))
        h = torch.randn(2, 4, 8, 8)
        assert torch.equal(network.units[1].without_branch(h), h)
        with pytest.raises(ValueError, match=r"unit 0 \(0\) is a plain layer from \(3, 8, 8\)"):
            network.units[0].without_branch(x)


@pytest.mark.slow
@pytest.mark.parametrize("units", [36, pytest.param(300, marks=pytest.mark.nightly)])
def test_many_units_unravel_in_seconds(units: int) -> None:
    torch.manual_seed(0)
    model = CifarResNet(2 * units + 2, width=2).eval()
    network = unravel(model, torch.randn(2, 3, 8, 8))
    assert len(network) == units
    assert network.units[-1].name == f"layer3.{units // 3 - 1}"


def test_view_is_a_residual_network(images: Tensor) -> None:
    network = unravel(cifar(8), images[:2], name="mine")
    assert isinstance(network, ResidualNetwork)
    assert (len(network), network.name, network.batch_size) == (3, "mine", None)
