"""Sixty random images, on which several experiments are tried, and a metric of all of them."""

from __future__ import annotations

import numpy as np
import pytest
from torch import Tensor

import resanalysis as ra
from resanalysis.datasets import Dataset
from tests.captures import captured_once

__all__ = ["captured_once"]


class Accuracy:
    """Right answers, as a metric of all examples together."""

    def __init__(self) -> None:
        self.right = self.seen = 0

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.right += int((preds.argmax(1) == target).sum())
        self.seen += len(target)

    def compute(self) -> float:
        return self.right / self.seen


@pytest.fixture(scope="session")
def data() -> Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 3, 16, 16), dtype=np.uint8)
    return ra.image_dataset(images, rng.integers(0, 5, 60), mean=[0.5] * 3, std=[0.25] * 3)
