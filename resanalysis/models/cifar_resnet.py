"""The CIFAR residual networks of He et al., post-activation (v1) and pre-activation (v2), depth 6n + 2."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shortcut = Literal["A", "B"]
Version = Literal[1, 2]


class PadShortcut(nn.Module):
    """Option A: subsample by the stride and pad the new channels with zeros, half on each side.

    Source: He et al. 2015, §3.3 and §4.2.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        before = (out_channels - in_channels) // 2
        self.pad = (0, 0, 0, 0, before, out_channels - in_channels - before)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], self.pad)


def _conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)


class PostActivationBlock(nn.Module):
    """Two 3×3 convolutions; ReLU after the addition. Source: He et al. 2015, §3.2."""

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            if shortcut == "A":
                self.shortcut = PadShortcut(in_channels, channels, stride)
            else:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False),
                    nn.BatchNorm2d(channels),
                )

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(branch + self.shortcut(x))


class PreActivationBlock(nn.Module):
    """Batch norm and ReLU before each convolution, nothing after the addition.

    A projection reads the pre-activated stream, as in the paper's code. Source: He et al. 2016, §4.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = _conv3x3(in_channels, channels, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = _conv3x3(channels, channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            if shortcut == "A":
                self.shortcut = PadShortcut(in_channels, channels, stride)
            else:
                self.shortcut = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.bn1(x))
        branch = self.conv2(F.relu(self.bn2(self.conv1(activated))))
        projected = isinstance(self.shortcut, nn.Conv2d)
        return branch + self.shortcut(activated if projected else x)


class CifarResNet(nn.Module):
    """Three stages of n units, widths 16, 32 and 64, on small images; depth is 6n + 2.

    Parameters
    ----------
    depth : 6n + 2 with n ≥ 1: 20, 32, 44, 56, 110, 1202…
    classes : width of the linear classifier.
    channels : channels of the input images.
    shortcut : ``"A"`` pads and subsamples at a transition, ``"B"`` projects with a 1×1 convolution.
    version : 1 is post-activation (He et al. 2015, §4.2), 2 is pre-activation (He et al. 2016).
    width : channels of the first stage; the next two have twice and four times as many.

    Raises
    ------
    ValueError : if the depth is not 6n + 2.
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
    ) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(
                f"a CIFAR ResNet has depth 6n + 2 (8, 14, 20, …, 56, 110), got {depth}"
            )
        self.version = version
        block = PostActivationBlock if version == 1 else PreActivationBlock
        self.conv1 = _conv3x3(channels, width)
        if version == 1:
            self.bn1 = nn.BatchNorm2d(width)
        in_channels = width
        stages: list[nn.Sequential] = []
        for stage in range(3):
            out_channels = width * 2**stage
            units: list[nn.Module] = []
            for index in range((depth - 2) // 6):
                stride = 2 if stage and index == 0 else 1
                units.append(block(in_channels, out_channels, stride, shortcut))
                in_channels = out_channels
            stages.append(nn.Sequential(*units))
        self.layer1, self.layer2, self.layer3 = stages
        if version == 2:
            self.bn = nn.BatchNorm2d(in_channels)
        self.linear = nn.Linear(in_channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        if self.version == 1:
            x = F.relu(self.bn1(x))
        x = self.layer3(self.layer2(self.layer1(x)))
        if self.version == 2:
            x = F.relu(self.bn(x))
        return self.linear(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))
