"""What becomes of a residual network whose shortcuts do more than pass the stream on."""

from __future__ import annotations

from functools import partial
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resanalysis.errors import ResanalysisError
from resanalysis.models.depths import units_per_stage
from resanalysis.models.shortcuts import conv3x3, shortcut_of
from resanalysis.models.trunk import CifarTrunk

Variant = Literal[
    "constant-scaling",
    "shortcut-scaling",
    "exclusive-gating",
    "shortcut-gating",
    "conv-shortcut",
    "dropout-shortcut",
]
VARIANTS: tuple[Variant, ...] = get_args(Variant)


class VariantUnit(nn.Module):
    """A post-activation unit whose shortcut is scaled, gated, convolved or dropped out."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        *,
        variant: Variant,
        gate_bias: float,
    ) -> None:
        super().__init__()
        self.variant = variant
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)
        option = "C" if variant == "conv-shortcut" else "A"
        self.shortcut = shortcut_of(option, in_channels, channels, stride, norm=True)
        self.gate: nn.Conv2d | None = None
        if variant in ("exclusive-gating", "shortcut-gating"):
            self.gate = nn.Conv2d(in_channels, channels, 1, stride=stride)
            # 1 − σ(−6) = 0.998: the network begins with the shortcut nearly open.
            nn.init.constant_(self.gate.bias, gate_bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        skip = self.shortcut(x)
        if self.gate is not None:
            gate = torch.sigmoid(self.gate(x))
            skip = (1 - gate) * skip
            branch = gate * branch if self.variant == "exclusive-gating" else branch
        elif self.variant == "constant-scaling":
            branch, skip = 0.5 * branch, 0.5 * skip
        elif self.variant == "shortcut-scaling":
            skip = 0.5 * skip
        elif self.variant == "dropout-shortcut":
            skip = F.dropout(skip, 0.5, self.training)
        return F.relu(branch + skip)


def shortcut_variant(
    depth: int,
    variant: Variant,
    *,
    classes: int = 10,
    channels: int = 3,
    width: int = 16,
    gate_bias: float = -6.0,
) -> CifarTrunk:
    """A post-activation CIFAR ResNet with one of the shortcuts that He et al. found to be worse.

    Parameters
    ----------
    depth : 6n + 2.
    variant : ``"constant-scaling"`` halves shortcut and branch, ``"shortcut-scaling"`` the shortcut alone;
        ``"exclusive-gating"`` multiplies the branch by a gate g(x) and the shortcut by 1 − g(x),
        ``"shortcut-gating"`` the shortcut alone;
        ``"conv-shortcut"`` is a 1×1 convolution with batch norm in every unit; ``"dropout-shortcut"``
        drops half of the shortcut's values in training.
    gate_bias : where the gates start; the paper's best is −6.
    classes, channels, width : as for ``CifarResNet``.

    Raises
    ------
    ResanalysisError : for another depth or variant.

    Source: He et al. 2016, §3 and Table 1.
    """
    if variant not in VARIANTS:
        raise ResanalysisError(
            f"a shortcut variant is one of {', '.join(VARIANTS)}, got {variant!r}"
        )
    return CifarTrunk(
        partial(VariantUnit, variant=variant, gate_bias=gate_bias),
        (units_per_stage(depth),) * 3,
        (width, 2 * width, 4 * width),
        stem=width,
        classes=classes,
        channels=channels,
    )
