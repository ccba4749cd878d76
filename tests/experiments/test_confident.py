"""Confident predictions: what ``stream`` and all that reads it say of the loss gradient, against float64."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

import resanalysis as ra
from resanalysis.datasets import Dataset
from resanalysis.experiments.stream_damage import stream_damage
from resanalysis.network import ResidualNetwork
from tests.conftest import cifar

SCALES = pytest.mark.parametrize("scale", [5, 20])


def confident(scale: float) -> tuple[ResidualNetwork, Dataset]:
    """A ResNet-14 that is sure of every label, by some ``scale`` nats."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (8, 3, 16, 16), dtype=np.uint8)
    model = cifar(14)
    normalised = {"mean": [0.5] * 3, "std": [0.25] * 3}
    x, _ = ra.image_dataset(images, None, **normalised).batch(0, 8)
    with torch.no_grad():
        logits = model(x)
        top = logits.topk(2).values
        factor = scale / float((top[:, 0] - top[:, 1]).mean())
        model.linear.weight.mul_(factor)
        model.linear.bias.mul_(factor)
    labels = logits.argmax(1).numpy()
    return ra.unravel(model, x), ra.image_dataset(images, labels, **normalised)


def gradient_cosines(network: ResidualNetwork, data: Dataset) -> NDArray[np.float64]:
    """The column by definition: one image at a time, autograd through a network in float64."""
    exact = network.to("cpu", torch.float64)
    images, labels = data.batch(0, len(data))
    assert isinstance(images, Tensor)
    assert labels is not None
    rows = np.full((len(data), len(network)), np.nan)
    for i in range(len(data)):
        h, _ = exact.enter(images[i : i + 1].double())
        entered: list[Tensor] = []
        for unit in exact.units:
            h = h.detach().requires_grad_() if not entered else h
            entered.append(h)
            h = unit(h)
        loss = F.cross_entropy(exact.leave(h), labels[i : i + 1])
        for unit, (start, gradient) in enumerate(
            zip(entered, torch.autograd.grad(loss, entered), strict=True)
        ):
            branch = exact.units[unit].branch(start).detach()
            if branch.shape == start.shape:
                # By definition: torch's own cosine takes norms below 1e-8 for zero.
                lengths = branch.norm() * gradient.norm()
                rows[i, unit] = float(-(branch * gradient).sum() / lengths)
    return rows.mean(axis=0)


@SCALES
def test_gradient_cosines_agree_with_a_network_in_float64(scale: float) -> None:
    network, data = confident(scale)
    found = ra.stream(network, data)["gradient_cosine"]
    np.testing.assert_allclose(found, gradient_cosines(network, data), rtol=1e-3, atol=2e-5)


def test_with_a_loss_in_float32_they_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    network, data = confident(20)
    monkeypatch.setattr(
        "resanalysis.routes.loss.example_losses",
        lambda logits, labels: F.cross_entropy(logits.float(), labels, reduction="none"),
    )
    wrong = ra.stream(network, data)["gradient_cosine"].to_numpy()
    assert np.nanmax(np.abs(wrong - gradient_cosines(network, data))) > 0.01


@SCALES
def test_what_reads_them_agrees_too(scale: float) -> None:
    network, data = confident(scale)
    table = ra.stream(network, data)
    exact = table.assign(gradient_cosine=gradient_cosines(network, data))
    lesion = ra.lesion(network, data)

    def correlations(stream: pd.DataFrame) -> pd.DataFrame:
        damage = stream_damage(stream, lesion)
        return damage[damage["measure"] == "gradient_cosine"]

    ours = correlations(table)
    assert len(ours)
    pd.testing.assert_frame_equal(ours, correlations(exact), rtol=1e-9)

    pruned = ra.prune(network, data, orders=["gradient_cosine"], timing=0)
    held = pruned[pruned["order"] == "gradient_cosine"]["unit"].astype(int).tolist()
    calibration = data.limited(4, 0)
    cosines = np.nan_to_num(gradient_cosines(network, calibration), nan=np.inf)
    assert held == np.argsort(cosines, kind="stable").tolist()
