"""Random crops and flips of whole batches (He et al. 2015, §4.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def random_crop(images: Tensor, padding: int, generator: Generator) -> Tensor:
    """Pad (N, C, H, W) with zeros and cut an H × W window at a random place, one for each image."""
    if padding == 0:
        return images
    count, _, height, width = images.shape
    padded = F.pad(images, (padding,) * 4)
    top = torch.randint(0, 2 * padding + 1, (count, 1), generator=generator)
    left = torch.randint(0, 2 * padding + 1, (count, 1), generator=generator)
    rows = top + torch.arange(height)
    columns = left + torch.arange(width)
    index = torch.arange(count)[:, None, None]
    return padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def random_flip(images: Tensor, generator: Generator) -> Tensor:
    """Mirror each image of (N, C, H, W) left to right with probability one half."""
    flipped = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(flipped[:, None, None, None], images.flip(3), images)
