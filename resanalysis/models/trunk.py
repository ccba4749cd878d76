"""The frame all networks for small images share: a stem, three stages of units, a linear classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resanalysis.models.shortcuts import conv3x3

# Channels in, channels out, stride.
MakeUnit = Callable[[int, int, int], nn.Module]
MakeNorm = Callable[[int], nn.Module]


def three_stages(
    unit: MakeUnit, counts: Sequence[int], in_channels: int, widths: Sequence[int]
) -> list[nn.Sequential]:
    """Stages of units: the first unit of every stage but the first halves height and width."""
    stages: list[nn.Sequential] = []
    for stage, (count, width) in enumerate(zip(counts, widths, strict=True)):
        units: list[nn.Module] = []
        for index in range(count):
            units.append(unit(in_channels, width, 2 if stage and index == 0 else 1))
            in_channels = width
        stages.append(nn.Sequential(*units))
    return stages


def initialise(model: nn.Module) -> None:
    """Normal weights of variance 2 / fan-in (He et al. 2015b)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)


def pooled(x: Tensor) -> Tensor:
    """The mean of each channel, (N, C)."""
    return torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)


class CifarTrunk(nn.Module):
    """Stem, three stages, classifier, with the units of some family.

    Parameters
    ----------
    unit : makes a unit of (channels in, channels out, stride).
    counts, widths : units and channels of each stage.
    stem : channels of the stem's 3×3 convolution.
    channels : channels of the input images.
    first : makes the norm of so many channels that follows the stem, with a ReLU (post-activation
        units); ``None`` for neither.
    last : the same before the pooling (pre-activation units).
    """

    def __init__(
        self,
        unit: MakeUnit,
        counts: Sequence[int],
        widths: Sequence[int],
        *,
        stem: int,
        classes: int = 10,
        channels: int = 3,
        first: MakeNorm | None = nn.BatchNorm2d,
        last: MakeNorm | None = None,
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels, stem)
        self.bn1 = first(stem) if first is not None else None
        self.layer1, self.layer2, self.layer3 = three_stages(unit, counts, stem, widths)
        self.bn = last(widths[-1]) if last is not None else None
        self.linear = nn.Linear(widths[-1], classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        if self.bn1 is not None:
            x = F.relu(self.bn1(x))
        x = self.layer3(self.layer2(self.layer1(x)))
        if self.bn is not None:
            x = F.relu(self.bn(x))
        return self.linear(pooled(x))
