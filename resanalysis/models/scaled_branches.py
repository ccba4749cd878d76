"""Residual networks whose branches start at nothing, or stay small: one number at the end of each."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resanalysis.errors import ResanalysisError
from resanalysis.models.depths import units_per_stage
from resanalysis.models.shortcuts import conv3x3, shortcut_of
from resanalysis.models.survival import Survival
from resanalysis.models.trunk import CifarTrunk

Scaling = Literal["skipinit", "rezero", "fixup", "scaled-branch"]
SCALINGS: tuple[Scaling, ...] = ("skipinit", "rezero", "fixup", "scaled-branch")


class Bias(nn.Module):
    """One learned number, added everywhere (Zhang et al. 2019, rule 3)."""

    def __init__(self, channels: int = 0) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


class GatedUnit(nn.Module):
    """A pre-activation unit, x + α·F(x), where α is learned and starts at 0.

    Source: De and Smith 2020 (SkipInit: no batch norm); Bachlechner et al. 2021 (ReZero: with it).
    """

    def __init__(self, in_channels: int, channels: int, stride: int, *, norm: bool) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels) if norm else nn.Identity()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.norm2 = nn.BatchNorm2d(channels) if norm else Bias()
        self.conv2 = conv3x3(channels, channels)
        self.alpha = nn.Parameter(torch.zeros(1))
        self.shortcut = shortcut_of("A", in_channels, channels, stride, norm=False)
        self.survival = Survival()

    def forward(self, x: Tensor) -> Tensor:
        skip = self.shortcut(x)
        if self.survival.absent:
            return skip
        inner = self.conv1(F.relu(self.norm1(x)))
        branch = self.alpha * self.conv2(F.relu(self.norm2(inner)))
        return self.survival(branch) + skip


class FixupUnit(nn.Module):
    """A post-activation unit without batch norm: biases, one multiplier, the last convolution zero.

    Source: Zhang et al. 2019, Figure 1.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bias1 = Bias()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bias2 = Bias()
        self.bias3 = Bias()
        self.conv2 = conv3x3(channels, channels)
        self.alpha = nn.Parameter(torch.ones(1))
        self.bias4 = Bias()
        self.shortcut = shortcut_of("pool", in_channels, channels, stride, norm=False)
        self.survival = Survival()

    def forward(self, x: Tensor) -> Tensor:
        skip = self.shortcut(x)
        if self.survival.absent:
            return F.relu(skip)
        inner = F.relu(self.bias2(self.conv1(self.bias1(x))))
        branch = self.bias4(self.alpha * self.conv2(self.bias3(inner)))
        return F.relu(self.survival(branch) + skip)


class ConstantUnit(nn.Module):
    """A post-activation unit whose branch is multiplied by a small constant.

    Source: Szegedy et al. 2017, §3.3 (Inception-ResNet: 0.1 to 0.3).
    """

    def __init__(self, in_channels: int, channels: int, stride: int, *, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = shortcut_of("A", in_channels, channels, stride, norm=True)
        self.survival = Survival()

    def forward(self, x: Tensor) -> Tensor:
        skip = self.shortcut(x)
        if self.survival.absent:
            return F.relu(skip)
        branch = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(self.survival(self.factor * branch) + skip)


def scaled_branches(
    depth: int,
    scaling: Scaling,
    *,
    classes: int = 10,
    channels: int = 3,
    width: int = 16,
    factor: float = 0.2,
) -> CifarTrunk:
    """A CIFAR ResNet with a number at the end of every branch.

    Parameters
    ----------
    depth : 6n + 2.
    scaling : ``"skipinit"`` and ``"rezero"`` learn it from 0 (without and with batch norm), ``"fixup"``
        learns it from 1 and starts the last convolution at 0, ``"scaled-branch"`` fixes it.
    factor : the constant; the others have none.
    classes, channels, width : as for ``CifarResNet``.

    Raises
    ------
    ResanalysisError : for another depth or scaling.
    """
    units = {
        "skipinit": partial(GatedUnit, norm=False),
        "rezero": partial(GatedUnit, norm=True),
        "fixup": FixupUnit,
        "scaled-branch": partial(ConstantUnit, factor=factor),
    }
    firsts = {"fixup": Bias, "scaled-branch": nn.BatchNorm2d}
    lasts = {"skipinit": Bias, "rezero": nn.BatchNorm2d}
    if scaling not in units:
        raise ResanalysisError(f"a scaling is one of {', '.join(units)}, got {scaling!r}")
    model = CifarTrunk(
        units[scaling],
        (units_per_stage(depth),) * 3,
        (width, 2 * width, 4 * width),
        stem=width,
        classes=classes,
        channels=channels,
        first=firsts.get(scaling),
        last=lasts.get(scaling),
    )
    if scaling == "fixup":
        _fixup_start(model)
    return model


def _fixup_start(model: CifarTrunk) -> None:
    """Rules 1 and 2: classifier and last convolutions 0, the others smaller by the root of the units."""
    units = [module for module in model.modules() if isinstance(module, FixupUnit)]
    with torch.no_grad():
        for unit in units:
            # L^(−1/(2m−2)) with m = 2 layers in a branch.
            unit.conv1.weight *= len(units) ** -0.5
            unit.conv2.weight.zero_()
        model.linear.weight.zero_()
        model.linear.bias.zero_()
