"""Plain networks: the layers of a residual network, without its shortcuts."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from resanalysis.models.depths import units_per_stage
from resanalysis.models.shortcuts import conv3x3
from resanalysis.models.trunk import CifarTrunk


class PlainUnit(nn.Module):
    """Two layers, each convolution, batch norm, ReLU. Source: He et al. 2015, §4.2."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)))


def plain(depth: int, *, classes: int = 10, channels: int = 3, width: int = 16) -> CifarTrunk:
    """The plain counterpart of a post-activation CIFAR ResNet of the same depth.

    Parameters
    ----------
    depth : 6n + 2.
    classes, channels, width : as for ``CifarResNet``.

    Source: He et al. 2015, §4.2 and Figure 6.
    """
    widths = (width, 2 * width, 4 * width)
    counts = (units_per_stage(depth),) * 3
    return CifarTrunk(PlainUnit, counts, widths, stem=width, classes=classes, channels=channels)
