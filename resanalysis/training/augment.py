"""Random crops and flips of whole batches (He et al. 2015, §4.2).

A process that has a share of the batch draws for all of it: each image is treated as in one process alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def random_crop(
    images: Tensor, padding: int, generator: Generator, *, batch: int, share: slice
) -> Tensor:
    """Pad (N, C, H, W) with zeros and cut an H × W window at a random place, one for each image.

    Parameters
    ----------
    images : those of a batch that are in ``share``.
    batch : images in all of it.
    """
    if padding == 0:
        return images
    count, _, height, width = images.shape
    padded = F.pad(images, (padding,) * 4)
    top = torch.randint(0, 2 * padding + 1, (batch, 1), generator=generator)[share]
    left = torch.randint(0, 2 * padding + 1, (batch, 1), generator=generator)[share]
    rows = top + torch.arange(height)
    columns = left + torch.arange(width)
    index = torch.arange(count)[:, None, None]
    return padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def random_flip(images: Tensor, generator: Generator, *, batch: int, share: slice) -> Tensor:
    """Mirror each image of (N, C, H, W) left to right with probability one half; as ``random_crop``."""
    flipped = torch.rand(batch, generator=generator)[share] < 0.5
    return torch.where(flipped[:, None, None, None], images.flip(3), images)
