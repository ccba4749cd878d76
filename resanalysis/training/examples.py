"""Images and labels to train on or to test with, and the network's error on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from resanalysis.ranks import all_of, ranks


@dataclass(frozen=True)
class Examples:
    """Labelled images, kept as bytes.

    Attributes
    ----------
    images : uint8 array (N, C, H, W).
    labels : int64 array (N,).
    mean, std : of each channel of the training images, scaled to [0, 1].
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    mean: Sequence[float]
    std: Sequence[float]

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, index: NDArray[np.int64] | slice) -> tuple[Tensor, Tensor]:
        """Normalised images (n, C, H, W) and labels (n,) of some examples."""
        chosen = torch.from_numpy(self.images[index]).float() / 255
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return (chosen - mean) / std, torch.from_numpy(self.labels[index])


def halved(images: Tensor) -> Tensor:
    """Images (N, C, H, W) of half the height and width: means of 2 × 2 pixels."""
    return F.avg_pool2d(images, 2)


def test_error(
    model: nn.Module, examples: Examples, *, half: bool = False, batch_size: int = 500
) -> float:
    """Fraction of images the model classifies wrongly, in eval mode and single precision.

    Several processes, whose models are alike, divide the batches among them.

    Parameters
    ----------
    half : on images halved in size, for a network that has seen no others yet.
    """
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    wrong = 0
    with torch.no_grad():
        for number, start in enumerate(range(0, len(examples), batch_size)):
            if not ranks().takes(number):
                continue
            images, labels = examples.batch(slice(start, start + batch_size))
            images = halved(images) if half else images
            wrong += int((model(images.to(device)).argmax(1).cpu() != labels).sum())
    model.train(training)
    return sum(all_of({ranks().rank: wrong}).values()) / len(examples)
