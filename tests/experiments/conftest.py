"""Sixty random images, on which several experiments are tried."""

from __future__ import annotations

import numpy as np
import pytest

import resanalysis as ra
from resanalysis.datasets import Dataset


@pytest.fixture(scope="session")
def data() -> Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 3, 16, 16), dtype=np.uint8)
    return ra.image_dataset(images, rng.integers(0, 5, 60), mean=[0.5] * 3, std=[0.25] * 3)
