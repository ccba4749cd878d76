"""Gradient norms by layer: against autograd, and nothing is left behind."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from resanalysis.training.examples import Examples
from resanalysis.training.gradient_norms import gradient_norms
from tests.conftest import cifar


def test_norms_of_each_layer_are_autograds() -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (12, 3, 8, 8), dtype=np.uint8)
    data = Examples(images, (np.arange(12) % 5).astype(np.int64), (0.5,) * 3, (0.3,) * 3)
    model = cifar(8)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    rows = gradient_norms(model, data, batch_size=4)
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), f"{key} is as it was"
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [row["name"] for row in rows] == [
        "conv1",
        *(f"layer{stage}.0.conv{index}" for stage in (1, 2, 3) for index in (1, 2)),
        "linear",
    ]
    assert [row["layer"] for row in rows] == list(range(8))
    model.train()
    norms: list[float] = []
    for start in (0, 4, 8):
        model.zero_grad()
        inputs, labels = data.batch(slice(start, start + 4))
        F.cross_entropy(model(inputs), labels).backward()
        gradient = model.layer2[0].conv1.weight.grad  # type: ignore[union-attr]
        assert isinstance(gradient, torch.Tensor)
        norms.append(float(gradient.square().sum().sqrt()))
    found = rows[3]
    np.testing.assert_allclose(found["norm"], np.mean(norms), rtol=1e-4)
    np.testing.assert_allclose(found["norm_low"], min(norms), rtol=1e-4)
    np.testing.assert_allclose(found["norm_high"], max(norms), rtol=1e-4)
