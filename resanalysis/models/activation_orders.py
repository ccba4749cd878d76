"""Where batch norm and ReLU stand in a residual unit: the orders of He et al. 2016 between v1 and v2."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from resanalysis.errors import ResanalysisError
from resanalysis.models.depths import units_per_stage
from resanalysis.models.shortcuts import conv3x3, shortcut_of
from resanalysis.models.survival import Survival
from resanalysis.models.trunk import CifarTrunk

Order = Literal["bn-after", "relu-before", "relu-only"]
ORDERS: tuple[Order, ...] = ("bn-after", "relu-before", "relu-only")


class NormAfterUnit(nn.Module):
    """Batch norm after the addition, then ReLU (Table 2, b)."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)
        self.shortcut = shortcut_of("A", in_channels, channels, stride, norm=False)
        self.survival = Survival()
        self.bn_after = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.shortcut(x)
        if self.survival.absent:
            return F.relu(self.bn_after(skip))
        branch = self.conv2(F.relu(self.bn1(self.conv1(x))))
        return F.relu(self.bn_after(self.survival(branch) + skip))


class ReluBeforeUnit(nn.Module):
    """ReLU at the end of the branch, nothing after the addition (Table 2, c)."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)
        self.bn_before = nn.BatchNorm2d(channels)
        self.shortcut = shortcut_of("A", in_channels, channels, stride, norm=False)
        self.survival = Survival()

    def forward(self, x: Tensor) -> Tensor:
        skip = self.shortcut(x)
        if self.survival.absent:
            return skip
        branch = self.conv2(F.relu(self.bn1(self.conv1(x))))
        return self.survival(F.relu(self.bn_before(branch))) + skip


class ReluOnlyUnit(nn.Module):
    """ReLU before each convolution, batch norm after it, nothing after the addition (Table 2, d)."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn_inside = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)
        self.bn_end = nn.BatchNorm2d(channels)
        self.shortcut = shortcut_of("A", in_channels, channels, stride, norm=False)
        self.survival = Survival()

    def forward(self, x: Tensor) -> Tensor:
        skip = self.shortcut(x)
        if self.survival.absent:
            return skip
        inner = self.bn_inside(self.conv1(F.relu(x)))
        return self.survival(self.bn_end(self.conv2(F.relu(inner)))) + skip


_UNITS = {"bn-after": NormAfterUnit, "relu-before": ReluBeforeUnit, "relu-only": ReluOnlyUnit}


def activation_order(
    depth: int, order: Order, *, classes: int = 10, channels: int = 3, width: int = 16
) -> CifarTrunk:
    """A CIFAR ResNet with another order of batch norm and ReLU than v1 (a) and v2 (e).

    Parameters
    ----------
    depth : 6n + 2.
    order : ``"bn-after"`` the addition, ``"relu-before"`` the addition, ``"relu-only"`` pre-activation.
    classes, channels, width : as for ``CifarResNet``; shortcuts are option A.

    Raises
    ------
    ResanalysisError : for another depth or order.

    Source: He et al. 2016, §4.1, Figure 4 and Table 2.
    """
    if order not in ORDERS:
        raise ResanalysisError(f"an activation order is one of {', '.join(ORDERS)}, got {order!r}")
    return CifarTrunk(
        _UNITS[order],
        (units_per_stage(depth),) * 3,
        (width, 2 * width, 4 * width),
        stem=width,
        classes=classes,
        channels=channels,
        # Where units begin with a ReLU, it is the pooling that lacks one, not the first unit.
        last=nn.Identity if order == "relu-only" else None,
    )
