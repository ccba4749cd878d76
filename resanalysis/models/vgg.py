"""VGG networks with batch norm, for small images: the paper's chain of layers without shortcuts."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from resanalysis.errors import ResanalysisError
from resanalysis.models.shortcuts import conv3x3
from resanalysis.models.trunk import initialise, pooled

# Convolutions between two poolings; the channels double up to eight times the first.
_CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class _Layer(nn.Module):
    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = conv3x3(in_channels, channels)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class CifarVGG(nn.Module):
    """Five groups of 3×3 convolutions, a pooling after each; three linear layers.

    Pooling rounds up, so that images of 28 × 28 pass five halvings as those of 32 × 32 do. The linear
    layers are eight times ``width`` wide, in place of the 4096 made for images of 224 × 224.

    Parameters
    ----------
    depth : 11, 13, 16 or 19 layers with weights.
    classes, channels : width of the classifier, channels of the input images.
    width : channels of the first group; 64 in the paper.

    Raises
    ------
    ResanalysisError : for another depth.

    Source: Simonyan and Zisserman 2015, Table 1. Batch norm came later; with it, a residual network of
    the same recipe differs by its skips and little else.
    """

    def __init__(
        self, depth: int, *, classes: int = 10, channels: int = 3, width: int = 64
    ) -> None:
        super().__init__()
        if depth not in _CONVOLUTIONS:
            raise ResanalysisError(f"a VGG network has depth 11, 13, 16 or 19, got {depth}")
        groups: list[nn.Module] = []
        before = channels
        for index, count in enumerate(_CONVOLUTIONS[depth]):
            after = width * min(2**index, 8)
            layers: list[nn.Module] = []
            for _ in range(count):
                layers.append(_Layer(before, after))
                before = after
            groups.append(nn.Sequential(*layers, nn.MaxPool2d(2, ceil_mode=True)))
        self.group1, self.group2, self.group3, self.group4, self.group5 = groups
        self.hidden1 = nn.Linear(before, before)
        self.hidden2 = nn.Linear(before, before)
        self.linear = nn.Linear(before, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.group5(self.group4(self.group3(self.group2(self.group1(x)))))
        return self.linear(F.relu(self.hidden2(F.relu(self.hidden1(pooled(x))))))
