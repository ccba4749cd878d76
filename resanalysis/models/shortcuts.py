"""What carries the stream past a branch: identity, and what replaces it where the shape changes."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Shortcut = Literal["A", "B", "C", "pool"]


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


class PoolShortcut(nn.Module):
    """Average pooling by the stride, then zeros for the new channels.

    Source: Huang et al. 2016, §4 (stochastic depth).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        before = (out_channels - in_channels) // 2
        self.pad = (0, 0, 0, 0, before, out_channels - in_channels - before)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        # An odd side leaves a smaller last window: its mean is over the pixels that are there.
        pooled = F.avg_pool2d(x, self.stride, ceil_mode=True, count_include_pad=False)
        return F.pad(pooled, self.pad)


def conv3x3(in_channels: int, out_channels: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A 3×3 convolution that keeps height and width at stride 1, without bias."""
    return nn.Conv2d(
        in_channels, out_channels, 3, stride=stride, padding=1, groups=groups, bias=False
    )


def shortcut_of(
    option: Shortcut, in_channels: int, out_channels: int, stride: int, *, norm: bool
) -> nn.Module:
    """The shortcut of a unit.

    Parameters
    ----------
    option : ``"A"`` pads where the shape changes, ``"B"`` projects there, ``"C"`` projects everywhere,
        ``"pool"`` pools and pads where the shape changes.
    norm : whether a projection is followed by batch norm (post-activation networks).

    Source: He et al. 2015, §3.3 and §4.1.
    """
    if option != "C" and stride == 1 and in_channels == out_channels:
        return nn.Identity()
    if option == "A":
        return PadShortcut(in_channels, out_channels, stride)
    if option == "pool":
        return PoolShortcut(in_channels, out_channels, stride)
    projection = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
    return nn.Sequential(projection, nn.BatchNorm2d(out_channels)) if norm else projection
