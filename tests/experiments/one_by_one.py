"""Any deletions, one whole pass over the units each: no tree, no folding, no batches."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import resanalysis as ra
from resanalysis.datasets import Dataset
from resanalysis.network import ResidualNetwork
from tests.conftest import cifar


def logits_without(network: ResidualNetwork, x: Tensor, gone: Collection[int]) -> Tensor:
    with torch.no_grad():
        h, side = network.enter(x)
        for unit in network.units:
            h = unit.without_branch(h, side) if unit.index in gone else unit(h, side)
        return network.leave(h, side).double()


def scores_without(
    network: ResidualNetwork, data: Dataset, gone: Collection[int]
) -> dict[str, np.ndarray]:
    """Loss, margin and error of each example, the margin by a loop over examples and classes."""
    x, y = data.batch(0, len(data))
    assert isinstance(x, Tensor)
    assert y is not None
    logits = logits_without(network, x, gone)
    margins = []
    for row, label in zip(logits.tolist(), y.tolist(), strict=True):
        others = [value for number, value in enumerate(row) if number != label]
        margins.append(row[label] - max(others))
    return {
        "loss": F.cross_entropy(logits, y, reduction="none").numpy(),
        "margin": np.array(margins),
        "error": (logits.argmax(1) != y).double().numpy(),
    }


def tiny_data(count: int = 20, classes: int = 5, labelled: bool = True) -> Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)
    labels = rng.integers(0, classes, count) if labelled else None
    return ra.image_dataset(images, labels, mean=[0.5] * 3, std=[0.25] * 3)


def tiny_network(data: Dataset, depth: int = 14) -> ResidualNetwork:
    return ra.unravel(cifar(depth), data.batch(0, 2)[0])


class Plain(nn.Sequential):
    """Layers without skips, of which the second keeps the shape."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5),
        )  # fmt: skip


class Kept:
    """A store in memory that counts what is put into it."""

    def __init__(self) -> None:
        self.blocks: dict[str, dict[str, np.ndarray]] = {}
        self.puts = 0

    def get(self, key: str) -> dict[str, np.ndarray] | None:
        return self.blocks.get(key)

    def put(self, key: str, arrays: dict[str, np.ndarray]) -> None:  # type: ignore[override]
        self.puts += 1
        self.blocks[key] = dict(arrays)
