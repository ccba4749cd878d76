"""Every family: the papers' numbers of parameters, names that come back, a view that computes the same."""

from __future__ import annotations

import itertools
import re

import pytest
import torch
from torch import nn
from torchvision import models

from resanalysis.models.architecture import Architecture
from resanalysis.models.families import FAMILIES
from resanalysis.models.names import (
    _IMAGENET,  # pyright: ignore[reportPrivateUsage]
    architecture_named,
)
from resanalysis.models.recognise import recognised
from resanalysis.view import unravel
from tests.conftest import settle

SMALL = (
    "resnet8",
    "resnet8v2",
    "resnet11",
    "resnet11v2",
    "stochastic-depth8",
    "highway9",
    "multi-residual8-3",
    "resnet8-bn-after",
    "resnet8-relu-before",
    "resnet8-relu-only",
    "resnet8-constant-scaling",
    "resnet8-shortcut-scaling",
    "resnet8-exclusive-gating",
    "resnet8-shortcut-gating",
    "resnet8-conv-shortcut",
    "resnet8-dropout-shortcut",
    "resnet8-skipinit",
    "resnet8-rezero",
    "resnet8-fixup",
    "resnet8-scaled-branch",
    "cifar_resnext11-2x4",
    "wrn10-2",
    "small-vit2",
)
CHAINS = ("plain14", "cifar_vgg16")


def narrow(name: str, **options: object) -> nn.Module:
    """A network of a name with few channels, not at its start: batch norm and numbers are at random."""
    torch.manual_seed(0)
    named = architecture_named(name)
    small = {} if name.startswith(("cifar_resnext", "wrn")) else {"width": 4}
    small |= {"stem": 4} if name.startswith("cifar_resnext") else {}
    small |= {"width": 16} if name.startswith("small-vit") else {}
    model = Architecture(named.name, {**named.options, **small, "classes": 5, **options}).make()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return settle(model)


def test_the_names_that_are_not_cifar_networks_are_those_of_torchvision() -> None:
    resnets = {name for name in models.list_models() if re.fullmatch(r"resnet\d+", name)}
    assert {f"resnet{digits}" for digits in _IMAGENET} == resnets
    assert architecture_named("resnet50").name == "torchvision:resnet50"


def parameters(name: str) -> int:
    with torch.device("meta"):
        return sum(weight.numel() for weight in architecture_named(name).make().parameters())


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        # He et al. 2015, Table 6.
        ("resnet20", 0.27),
        ("resnet32", 0.46),
        ("resnet44", 0.66),
        ("resnet56", 0.85),
        ("resnet110", 1.7),
        ("resnet1202", 19.4),
        # He et al. 2016: without shortcuts to learn, another order of layers changes no number.
        ("resnet110-relu-only", 1.7),
        ("resnet164", 1.7),
        ("resnet164v2", 1.7),
        # Zagoruyko and Komodakis 2016, Table 4; Xie et al. 2017, Table 7.
        ("wrn28-10", 36.5),
        ("wrn40-4", 8.9),
        ("cifar_resnext29-8x64", 34.4),
        ("cifar_resnext29-16x64", 68.1),
    ],
)
def test_the_papers_numbers_of_parameters(name: str, millions: float) -> None:
    digits = 2 if millions < 1 else 1
    # The printed numbers are rounded or cut: 68.155 is printed as 68.1.
    assert parameters(name) / 1e6 == pytest.approx(millions, abs=0.6 * 10**-digits)


def test_resnet_1001_has_10_2_million_weights() -> None:
    """He et al. 2016 print 10.2 M; with the γ and β of batch norm there are 10.3 M."""
    with torch.device("meta"):
        model = architecture_named("resnet1001v2").make()
    matrices = sum(weight.numel() for weight in model.parameters() if weight.ndim > 1)
    assert matrices / 1e6 == pytest.approx(10.2, abs=0.05)
    assert sum(1 for _ in model.parameters()) > 333 * 3


@pytest.mark.parametrize(
    "name", [*SMALL, *CHAINS, "resnet164v2", "resnet164v2-basic", "resnet56-bottleneck"]
)
def test_a_name_comes_back(name: str) -> None:
    assert str(architecture_named(name)) == name


def test_every_family_is_tested() -> None:
    assert {architecture_named(name).name for name in (*SMALL, *CHAINS)} == set(FAMILIES)


@pytest.mark.parametrize("name", [*SMALL, *CHAINS])
def test_every_family_unravels_and_recomposes(name: str) -> None:
    model = narrow(name, channels=1)
    images = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    network = unravel(model, images, plain=name in CHAINS)
    with torch.no_grad():
        torch.testing.assert_close(network(images), model(images), rtol=1e-4, atol=1e-5)
    kinds = {unit.skip_kind for unit in network.units}
    assert kinds == {"none"} if name in CHAINS else "none" not in kinds


@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("resnet14", 6),
        ("resnet11", 3),
        ("multi-residual8-3", 3),
        ("highway9", 5),
        ("small-vit2", 4),
    ],
)
def test_units_of_the_view(name: str, units: int) -> None:
    model = narrow(name)
    assert len(unravel(model, torch.randn(2, 3, 16, 16))) == units


def test_a_vgg_network_is_a_chain_of_fifteen_layers_and_a_classifier() -> None:
    network = unravel(narrow("cifar_vgg16"), torch.randn(2, 3, 32, 32), plain=True)
    assert len(network) == 15
    kept = [unit.name for unit in network.units if not unit.transition]
    assert len(kept) == 11, "all but the first of each group that widens can be deleted"


@pytest.mark.parametrize("name", [*SMALL, *CHAINS])
def test_weights_of_a_name_load_into_what_the_name_makes_of_them(name: str) -> None:
    """``--arch NAME`` with a state dict: classes, channels and widths are read off the weights."""
    model = narrow(name, channels=1)
    state = dict(model.state_dict())
    again = architecture_named(name, state).make()
    again.load_state_dict(state)
    images = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    again.eval()
    if "survival" in architecture_named(name).options:
        return  # The weights are those of any ResNet of option A: the probabilities come by the name.
    with torch.no_grad():
        torch.testing.assert_close(again(images), model(images))


@pytest.mark.parametrize(
    "name",
    [
        "resnet14",
        "resnet14v2",
        "wrn10-2",
        "highway9",
        "cifar_vgg16",
        "multi-residual14-3",
        "small-vit3",
    ],
)
def test_recognised_by_the_weights(name: str) -> None:
    model = narrow(name, channels=1)
    found = recognised(model.state_dict())
    assert found is not None
    assert str(found) == name
    found.make().load_state_dict(model.state_dict())


@pytest.mark.parametrize("shortcut", ["A", "B", "C"])
def test_the_option_of_the_shortcuts_is_recognised(shortcut: str) -> None:
    for name, version in itertools.product(("resnet8", "resnet14"), (1, 2)):
        model = narrow(name, shortcut=shortcut, version=version)
        found = recognised(model.state_dict())
        assert found is not None
        assert found.options["shortcut"] == shortcut
        projections = sum(".shortcut." in key for key in model.state_dict() if "weight" in key)
        assert (projections > 0) == (shortcut != "A")
        found.make().load_state_dict(model.state_dict())


@pytest.mark.parametrize(
    "name",
    ["resnet8-skipinit", "resnet8-bn-after", "resnet8-exclusive-gating", "resnet11"],
)
def test_what_is_like_a_resnet_is_not_taken_for_one(name: str) -> None:
    """A bottleneck's stride may stand at either convolution, which the weights do not show."""
    assert recognised(narrow(name).state_dict()) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet57", "no CIFAR ResNet has depth 57: it is 6n .* 56.*, or 9n .* 56"),
        ("resnet6", "no CIFAR ResNet has depth 6: .*nearest is 8"),
        (
            "resnet58-bottleneck",
            r"bottleneck units has depth 9n \+ 2 .*, got 58; the nearest is 56",
        ),
        ("resnet29-basic", r"has depth 6n \+ 2 .*, got 29; the nearest is 26"),
        (
            "resnet20-gated",
            "no architecture resnet20-gated: 'gated' is none of basic, bottleneck,",
        ),
        ("wrn27-10", r"depth 6n \+ 4 .*, got 27"),
        ("perceptron3", "no architecture 'perceptron3': write resnet56"),
    ],
)
def test_names_of_none(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        architecture_named(name)


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("highway", {"depth": 6}, "depth 7 or more, got 6"),
        ("highway", {"depth": 9, "gate_bias": 1.0}, "bias starts below 0"),
        ("cifar_vgg", {"depth": 12}, "depth 11, 13, 16 or 19, got 12"),
        ("multi_residual", {"depth": 8, "branches": 0}, "1 branch or more, got 0"),
        ("activation_order", {"depth": 8, "order": "last"}, "one of bn-after, .* got 'last'"),
        ("shortcut_variant", {"depth": 8, "variant": "none"}, "one of constant-.* got 'none'"),
        ("scaled_branches", {"depth": 8, "scaling": "none"}, "one of skipinit, .* got 'none'"),
        ("plain", {"depth": 9}, r"depth 6n \+ 2"),
        ("small_vit", {"depth": 2, "width": 40}, "a multiple of 16, got 2 layers of width 40"),
    ],
)
def test_options_that_do_not_fit(family: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FAMILIES[family].make(**options)


def test_a_small_vit_sees_where_a_patch_is_and_nothing_learned_says_so() -> None:
    """Fixed positions: as many weights for any image, and patches that change places change the answer."""
    model = narrow("small-vit2", channels=1)
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(1, 1, 8, 16, generator=generator)
    turned = torch.cat([image[..., 8:], image[..., :8]], 3)
    with torch.no_grad():
        assert (model(image) - model(turned)).abs().max() > 1e-3
        assert model(torch.randn(2, 1, 20, 12, generator=generator)).shape == (2, 5)
