"""What a unit of each family computes, against the paper's formula written out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resanalysis.models.cifar_resnet import PostActivationBlock, PreActivationBlock
from resanalysis.models.highway import HighwayLayer, highway
from resanalysis.models.multi_residual import MultiResidualUnit
from resanalysis.models.names import architecture_named
from resanalysis.models.scaled_branches import ConstantUnit
from resanalysis.models.shortcut_variants import VariantUnit
from resanalysis.models.shortcuts import PadShortcut, PoolShortcut
from tests.conftest import settle


def stream(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def test_option_a_takes_every_second_pixel_and_adds_zeros() -> None:
    x = stream(2, 4, 7, 7)
    out = PadShortcut(4, 8, 2)(x)
    assert out.shape == (2, 8, 4, 4)
    assert torch.equal(out[:, 2:6], x[:, :, ::2, ::2])
    assert out[:, :2].count_nonzero() == out[:, 6:].count_nonzero() == 0


def test_the_pooled_shortcut_takes_means_of_the_pixels_there_are() -> None:
    x = stream(2, 4, 7, 7)
    out = PoolShortcut(4, 8, 2)(x)
    assert out.shape == (2, 8, 4, 4)
    torch.testing.assert_close(out[:, 2:6, 0, 0], x[:, :, :2, :2].mean((2, 3)))
    torch.testing.assert_close(out[:, 2:6, 3, 0], x[:, :, 6, :2].mean(2))
    torch.testing.assert_close(out[:, 2:6, 3, 3], x[:, :, 6, 6])


def test_a_highway_layer_with_closed_gates_carries() -> None:
    layer = settle(HighwayLayer(4, -2.0))
    assert isinstance(layer, HighwayLayer)
    x = stream(2, 4, 6, 6)
    gate = torch.sigmoid(layer.gate(x))
    new = F.relu(layer.bn(layer.conv(x)))
    torch.testing.assert_close(layer(x), gate * new + (1 - gate) * x)
    with torch.no_grad():
        layer.gate.weight.zero_()
        layer.gate.bias.fill_(-100.0)  # type: ignore[union-attr]
    torch.testing.assert_close(layer(x), x)


def test_highway_gates_begin_where_they_are_told() -> None:
    model = highway(19, gate_bias=-3.0)
    layers = [module for module in model.modules() if isinstance(module, HighwayLayer)]
    assert len(layers) == 15
    for layer in layers:
        assert layer.gate.bias is not None
        assert torch.equal(layer.gate.bias.detach(), torch.full_like(layer.gate.bias, -3.0))
    convolutions = sum(
        isinstance(module, nn.Conv2d) and module.bias is None for module in model.modules()
    )
    assert convolutions + 1 == 19, "layers with weights, gates not counted, and the classifier"


def test_gated_and_scaled_shortcuts() -> None:
    x = stream(2, 4, 6, 6).abs()

    def unit(variant: str) -> VariantUnit:
        torch.manual_seed(0)
        made = VariantUnit(4, 4, 1, variant=variant, gate_bias=-1.0)  # type: ignore[arg-type]
        settle(made)
        return made

    plain = unit("constant-scaling")
    branch = plain.bn2(plain.conv2(F.relu(plain.bn1(plain.conv1(x)))))
    torch.testing.assert_close(plain(x), F.relu(0.5 * branch + 0.5 * x))
    halved = unit("shortcut-scaling")  # the same weights
    torch.testing.assert_close(halved(x), F.relu(branch + 0.5 * x))
    for variant, share in (("exclusive-gating", True), ("shortcut-gating", False)):
        gated = unit(variant)
        assert gated.gate is not None
        gate = torch.sigmoid(gated.gate(x))
        branch = gated.bn2(gated.conv2(F.relu(gated.bn1(gated.conv1(x)))))
        expected = F.relu((gate * branch if share else branch) + (1 - gate) * x)
        torch.testing.assert_close(gated(x), expected)
    dropped = unit("dropout-shortcut").train()
    torch.manual_seed(1)
    first = dropped(x)
    assert not torch.equal(first, dropped(x)), "training drops other values each time"
    assert torch.equal(dropped.eval()(x), dropped(x))


def test_branches_that_begin_at_nothing() -> None:
    """SkipInit, ReZero and Fixup begin as a network without branches."""
    images = stream(2, 3, 16, 16)
    for name in ("resnet14-skipinit", "resnet14-rezero", "resnet14-fixup"):
        torch.manual_seed(0)
        model: nn.Module = architecture_named(name).make().eval()
        with torch.no_grad():
            before = model(images)
            for key, weight in model.named_parameters():
                if key.startswith("layer") and "conv1" in key:
                    weight += 1.0
            torch.testing.assert_close(model(images), before)
        if name.endswith("fixup"):
            assert before.count_nonzero() == 0, "its classifier begins at 0"
        else:
            assert before.count_nonzero() > 0


def test_a_scaled_branch_is_a_smaller_one() -> None:
    torch.manual_seed(0)
    unit = ConstantUnit(4, 4, 1, factor=0.2)
    settle(unit)
    x = stream(2, 4, 6, 6)
    branch = unit.bn2(unit.conv2(F.relu(unit.bn1(unit.conv1(x)))))
    torch.testing.assert_close(unit(x), F.relu(0.2 * branch + x))


def test_several_branches_are_summed() -> None:
    torch.manual_seed(0)
    unit = MultiResidualUnit(4, 4, 1, branches=3)
    settle(unit)
    x = stream(2, 4, 6, 6)
    expected = x + sum((branch(x) for branch in unit.branches), torch.zeros_like(x))
    torch.testing.assert_close(unit(x), expected)


def test_option_c_projects_where_the_shape_stays() -> None:
    for block in (PostActivationBlock, PreActivationBlock):
        assert isinstance(block(4, 4, 1, "B").shortcut, nn.Identity)
        assert not isinstance(block(4, 4, 1, "C").shortcut, nn.Identity)
