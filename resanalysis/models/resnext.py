"""ResNeXt for small images: bottleneck units whose 3×3 convolution is divided into groups."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from resanalysis.models.depths import units_per_stage
from resanalysis.models.shortcuts import conv3x3, shortcut_of
from resanalysis.models.survival import Survival
from resanalysis.models.trunk import CifarTrunk


class GroupedBottleneck(nn.Module):
    """1×1, grouped 3×3 and 1×1 convolutions; ReLU after the addition. The stride is the 3×3's.

    Source: Xie et al. 2017, Figure 3c.
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int, *, inner: int, groups: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = conv3x3(inner, inner, stride, groups)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.shortcut = shortcut_of("B", in_channels, channels, stride, norm=True)
        self.survival = Survival()

    def forward(self, x: Tensor) -> Tensor:
        skip = self.shortcut(x)
        if self.survival.absent:
            return F.relu(skip)
        inner = F.relu(self.bn1(self.conv1(x)))
        inner = F.relu(self.bn2(self.conv2(inner)))
        return F.relu(self.survival(self.bn3(self.conv3(inner))) + skip)


def resnext(
    depth: int,
    *,
    groups: int = 8,
    width: int = 64,
    classes: int = 10,
    channels: int = 3,
    stem: int = 64,
) -> CifarTrunk:
    """A ResNeXt of three stages.

    Parameters
    ----------
    depth : 9n + 2: 29 is the paper's.
    groups, width : cardinality, and channels of each group in the first stage: 8 × 64 or 16 × 64 in the
        paper.
    stem : channels of the stem; the stages' outputs are 4, 8 and 16 times as wide.

    Raises
    ------
    ResanalysisError : for another depth.

    Source: Xie et al. 2017, §5.3.
    """

    def unit(in_channels: int, out_channels: int, stride: int) -> GroupedBottleneck:
        inner = groups * width * out_channels // (4 * stem)
        return GroupedBottleneck(in_channels, out_channels, stride, inner=inner, groups=groups)

    widths = (4 * stem, 8 * stem, 16 * stem)
    counts = (units_per_stage(depth, 3),) * 3
    return CifarTrunk(unit, counts, widths, stem=stem, classes=classes, channels=channels)
