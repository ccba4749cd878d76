"""The CIFAR residual networks of He et al., post-activation (v1) and pre-activation (v2)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from resanalysis.models.depths import units_per_stage
from resanalysis.models.shortcuts import Shortcut, conv3x3, shortcut_of
from resanalysis.models.survival import Survival, set_survival
from resanalysis.models.trunk import initialise, pooled, three_stages

Version = Literal[1, 2]


class PostActivationBlock(nn.Module):
    """Two 3×3 convolutions; ReLU after the addition. Source: He et al. 2015, §3.2."""

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = shortcut_of(shortcut, in_channels, channels, stride, norm=True)
        self.survival = Survival()

    def forward(self, x: Tensor) -> Tensor:
        skip = self.shortcut(x)
        if self.survival.absent:
            return F.relu(skip)
        branch = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(self.survival(branch) + skip)


class PostActivationBottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions, the last four times as wide; ReLU after the addition.

    The stride is the first convolution's. Source: He et al. 2015, Figure 5.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        inner = channels // 4
        self.conv1 = nn.Conv2d(in_channels, inner, 1, stride=stride, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = conv3x3(inner, inner)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.shortcut = shortcut_of(shortcut, in_channels, channels, stride, norm=True)
        self.survival = Survival()

    def forward(self, x: Tensor) -> Tensor:
        skip = self.shortcut(x)
        if self.survival.absent:
            return F.relu(skip)
        inner = F.relu(self.bn1(self.conv1(x)))
        inner = F.relu(self.bn2(self.conv2(inner)))
        return F.relu(self.survival(self.bn3(self.conv3(inner))) + skip)


class PreActivationBlock(nn.Module):
    """Batch norm and ReLU before each convolution, nothing after the addition.

    A projection reads the pre-activated stream, as in the paper's code. Source: He et al. 2016, §4.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)
        self.shortcut = shortcut_of(shortcut, in_channels, channels, stride, norm=False)
        self.survival = Survival()

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.bn1(x))
        skip = self.shortcut(activated if isinstance(self.shortcut, nn.Conv2d) else x)
        if self.survival.absent:
            return skip
        branch = self.conv2(F.relu(self.bn2(self.conv1(activated))))
        return self.survival(branch) + skip


class PreActivationBottleneck(nn.Module):
    """Batch norm and ReLU before each of a 1×1, a 3×3 and a 1×1 convolution.

    Source: He et al. 2016, §4 and Table 3 (ResNet-164 and -1001).
    """

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        inner = channels // 4
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, inner, 1, stride=stride, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv2 = conv3x3(inner, inner)
        self.bn3 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, channels, 1, bias=False)
        self.shortcut = shortcut_of(shortcut, in_channels, channels, stride, norm=False)
        self.survival = Survival()

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.bn1(x))
        skip = self.shortcut(activated if isinstance(self.shortcut, nn.Conv2d) else x)
        if self.survival.absent:
            return skip
        inner = self.conv2(F.relu(self.bn2(self.conv1(activated))))
        return self.survival(self.conv3(F.relu(self.bn3(inner)))) + skip


class CifarResNet(nn.Module):
    """Three stages of n units, widths 16, 32 and 64, on small images.

    Parameters
    ----------
    depth : 6n + 2 with n ≥ 1: 20, 32, 44, 56, 110, 1202…; 9n + 2 for bottlenecks: 164, 1001…
    classes : width of the linear classifier.
    channels : channels of the input images.
    shortcut : ``"A"`` pads and subsamples at a transition, ``"B"`` projects with a 1×1 convolution,
        ``"C"`` projects in every unit, ``"pool"`` pools and pads.
    version : 1 is post-activation (He et al. 2015, §4.2), 2 is pre-activation (He et al. 2016).
    width : channels of the first stage's 3×3 convolutions; the next two have twice and four times as
        many.
    stem : channels of the stem where they are not ``width`` (wide networks).
    bottleneck : units of three layers, whose output is four times as wide.
    survival : probability that each unit's branch is present in training (stochastic depth).

    Raises
    ------
    ResanalysisError : if the depth is not 6n + 2 (or 9n + 2), or the probabilities do not fit.
    """

    def __init__(
        self,
        depth: int,
        *,
        classes: int = 10,
        channels: int = 3,
        shortcut: Shortcut = "A",
        version: Version = 1,
        width: int = 16,
        stem: int | None = None,
        bottleneck: bool = False,
        survival: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        units = units_per_stage(depth, 3 if bottleneck else 2)
        stem = stem or width
        blocks = {
            (1, False): PostActivationBlock,
            (1, True): PostActivationBottleneck,
            (2, False): PreActivationBlock,
            (2, True): PreActivationBottleneck,
        }
        unit = partial(blocks[version, bottleneck], shortcut=shortcut)
        widths = [width * 2**stage * (4 if bottleneck else 1) for stage in range(3)]
        self.version = version
        self.conv1 = conv3x3(channels, stem)
        if version == 1:
            self.bn1 = nn.BatchNorm2d(stem)
        self.layer1, self.layer2, self.layer3 = three_stages(unit, (units,) * 3, stem, widths)
        if version == 2:
            self.bn = nn.BatchNorm2d(widths[-1])
        self.linear = nn.Linear(widths[-1], classes)
        initialise(self)
        if survival is not None:
            set_survival(self, survival)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        if self.version == 1:
            x = F.relu(self.bn1(x))
        x = self.layer3(self.layer2(self.layer1(x)))
        if self.version == 2:
            x = F.relu(self.bn(x))
        return self.linear(pooled(x))
