"""Multi-residual networks: units with several branches beside one skip."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from resanalysis.errors import ResanalysisError
from resanalysis.models.depths import units_per_stage
from resanalysis.models.shortcuts import conv3x3, shortcut_of
from resanalysis.models.survival import Survival
from resanalysis.models.trunk import CifarTrunk


class Branch(nn.Module):
    """Batch norm, ReLU and a 3×3 convolution, twice."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))


class MultiResidualUnit(nn.Module):
    """x + F₁(x) + … + F_k(x). Source: Abdi and Nahavandi 2016, equation 8."""

    def __init__(self, in_channels: int, channels: int, stride: int, *, branches: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            Branch(in_channels, channels, stride) for _ in range(branches)
        )
        self.shortcut = shortcut_of("A", in_channels, channels, stride, norm=False)
        self.survival = Survival()

    def forward(self, x: Tensor) -> Tensor:
        skip = self.shortcut(x)
        if self.survival.absent:
            return skip
        first, *others = self.branches
        total = first(x)
        for branch in others:
            total = total + branch(x)
        return self.survival(total) + skip


def multi_residual(
    depth: int, branches: int = 2, *, classes: int = 10, channels: int = 3, width: int = 16
) -> CifarTrunk:
    """A pre-activation CIFAR network with several branches in each unit.

    Parameters
    ----------
    depth : 6n + 2, the layers of the longest path.
    branches : how many stand side by side in each unit.
    classes, channels, width : as for ``CifarResNet``; shortcuts are option A.

    Raises
    ------
    ResanalysisError : for another depth, or no branch.
    """
    if branches < 1:
        raise ResanalysisError(f"a unit has 1 branch or more, got {branches}")
    return CifarTrunk(
        partial(MultiResidualUnit, branches=branches),
        (units_per_stage(depth),) * 3,
        (width, 2 * width, 4 * width),
        stem=width,
        classes=classes,
        channels=channels,
        first=None,
        last=nn.BatchNorm2d,
    )
