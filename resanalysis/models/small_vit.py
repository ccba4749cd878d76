"""A vision transformer for small images: the residual network whose units are attentions and MLPs."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resanalysis.errors import ResanalysisError

_HEAD = 16


def _positions(patches: Tensor) -> Tensor:
    """Sines and cosines of each patch's row and column: of (N, width, rows, columns), (rows × columns, width).

    Not learned, so that images of other sizes pass too. Source: Beyer et al. 2022.
    """
    _, width, rows, columns = patches.shape
    frequencies = 10_000.0 ** -(torch.arange(width // 4).to(patches) / (width // 4))
    angles = [torch.arange(count).to(patches)[:, None] * frequencies for count in (rows, columns)]
    of_rows, of_columns = (torch.cat([angle.sin(), angle.cos()], 1) for angle in angles)
    return torch.cat(
        [of_rows.repeat_interleave(columns, 0), of_columns.repeat(rows, 1)], 1
    )  # (row, column) in the order in which a convolution's output is flattened


class Attention(nn.Module):
    """Every token reads all others, after a norm of its own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.heads = width // _HEAD

    def forward(self, h: Tensor) -> Tensor:
        count, tokens, width = h.shape
        # (N, T, 3, heads, 16) → three of (N, heads, T, 16).
        split = self.qkv(self.norm(h)).view(count, tokens, 3, self.heads, _HEAD)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        read = F.scaled_dot_product_attention(query, key, value)
        return self.out(read.transpose(1, 2).reshape(count, tokens, width))


class Mlp(nn.Module):
    """Two linear layers on every token by itself, after a norm of its own."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, ratio * width)
        self.out = nn.Linear(ratio * width, width)

    def forward(self, h: Tensor) -> Tensor:
        return self.out(F.gelu(self.inner(self.norm(h))))


class Layer(nn.Module):
    """Two residual units: h + attention(h), then h + mlp(h)."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.attention = Attention(width)
        self.mlp = Mlp(width, ratio)

    def forward(self, h: Tensor) -> Tensor:
        h = h + self.attention(h)
        return h + self.mlp(h)


class SmallViT(nn.Module):
    """Patches, layers, a norm, the mean over tokens, a linear classifier.

    Parameters
    ----------
    depth : layers, of two residual units each.
    width : of the stream; a multiple of 16, the width of a head, of which there are width / 16.
    patch : height and width of a patch in pixels.
    ratio : of the inner width of the MLPs to ``width``.
    channels : of the input images, (N, channels, height, width), at least a patch high and wide.

    Raises
    ------
    ResanalysisError : for a depth below 1, or a width that is no multiple of 16.

    Source: Dosovitskiy et al. 2021; fixed positions and the mean in place of a class token as in
    Beyer et al. 2022.
    """

    def __init__(
        self,
        depth: int,
        *,
        classes: int = 10,
        channels: int = 3,
        width: int = 64,
        patch: int = 4,
        ratio: int = 2,
    ) -> None:
        super().__init__()
        if depth < 1 or width < _HEAD or width % _HEAD:
            raise ResanalysisError(
                "a small vision transformer has 1 layer or more, and a width that is a multiple of "
                f"{_HEAD}, got {depth} layers of width {width}"
            )
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.layers = nn.Sequential(*(Layer(width, ratio) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, classes)
        for name, weight in self.named_parameters():
            if name.endswith(
                "out.weight"
            ):  # what all units add up to begins as small as one of them
                nn.init.trunc_normal_(weight, std=0.02 / math.sqrt(2 * depth))
            elif weight.ndim == 2:
                nn.init.trunc_normal_(weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x)
        h = patches.flatten(2).transpose(1, 2)
        h = h + _positions(patches)
        return self.linear(self.norm(self.layers(h)).mean(1))
