"""What a table says of itself."""

from __future__ import annotations

import numpy as np
import torch

import resanalysis as ra
from resanalysis.provenance import Provenance
from tests.conftest import cifar


def test_a_table_says_what_made_it() -> None:
    network = ra.unravel(cifar(8), torch.randn(2, 3, 8, 8))
    images = np.arange(5 * 3 * 8 * 8, dtype=np.uint16).astype(np.uint8).reshape(5, 3, 8, 8)
    data = ra.image_dataset(images, np.arange(5), mean=[0.0] * 3, std=[1.0] * 3)
    facts = Provenance.of(network, data, 7, part="branch").facts()
    assert facts == {
        "model": "CifarResNet",
        "data": data.name,
        "n": 5,
        "seed": 7,
        "subset": data.subset,
        "arithmetic": "float32",
        "batch_norm": "running statistics",
        "part": "branch",
    }
    assert ra.lesion(network, data, seed=7).attrs == facts | {
        name: value
        for name, value in ra.lesion(network, data, seed=7).attrs.items()
        if name not in facts
    }
