"""Highway networks: a learned gate says how much of each layer is new and how much is carried."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resanalysis.errors import ResanalysisError
from resanalysis.models.shortcuts import conv3x3
from resanalysis.models.trunk import CifarTrunk


class PlainLayer(nn.Module):
    """A layer that changes the shape: it has nothing to carry past itself."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv = conv3x3(in_channels, channels, stride)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class HighwayLayer(nn.Module):
    """T(x)·H(x) + (1 − T(x))·x, with T a sigmoid of a convolution with bias.

    Source: Srivastava et al. 2015, equation 3; §2.2 on the bias.
    """

    def __init__(self, channels: int, gate_bias: float) -> None:
        super().__init__()
        self.conv = conv3x3(channels, channels)
        self.bn = nn.BatchNorm2d(channels)
        self.gate = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.constant_(self.gate.bias, gate_bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Tensor) -> Tensor:
        transform = torch.sigmoid(self.gate(x))
        return transform * F.relu(self.bn(self.conv(x))) + (1 - transform) * x


def _unit(in_channels: int, channels: int, stride: int, gate_bias: float) -> nn.Module:
    if stride != 1 or in_channels != channels:
        return PlainLayer(in_channels, channels, stride)
    return HighwayLayer(channels, gate_bias)


def highway(
    depth: int,
    *,
    classes: int = 10,
    channels: int = 3,
    width: int = 16,
    gate_bias: float = -2.0,
) -> CifarTrunk:
    """A convolutional highway network of three stages.

    The stem, the first layer of stages 2 and 3 and the classifier are plain; the other depth − 4 layers
    are highway layers, shared out evenly, the first stages taking one more where it does not divide.
    Batch norm precedes the ReLU of H, which the paper's networks, older than batch norm, did not have.

    Parameters
    ----------
    depth : layers in all, 7 or more: 19 and 32 are the paper's.
    gate_bias : where the transform gates start, negative, so that the network begins by carrying; the
        paper's best are −2 (MNIST) and −4 (CIFAR-100).

    Raises
    ------
    ResanalysisError : for a smaller depth, or a bias that is not negative.

    Source: Srivastava et al. 2015.
    """
    if depth < 7:
        raise ResanalysisError(
            f"a highway network of three stages has depth 7 or more, got {depth}"
        )
    if gate_bias >= 0:
        raise ResanalysisError(
            f"a transform gate's bias starts below 0 (−1 to −10), got {gate_bias:g}"
        )
    # Rounded up for the first stages: (g + 2 − stage) // 3 of g gated layers.
    gated = [(depth - 4 + 2 - stage) // 3 for stage in range(3)]
    counts = (gated[0], gated[1] + 1, gated[2] + 1)
    widths = (width, 2 * width, 4 * width)
    unit = partial(_unit, gate_bias=gate_bias)
    return CifarTrunk(unit, counts, widths, stem=width, classes=classes, channels=channels)
