"""Confident predictions, whose loss gradient float32 cannot hold, against a network in double precision."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from resanalysis.network import ResidualNetwork
from resanalysis.path_gradients import (
    Tape,
    draw_signs,
    draw_subsets,
    freeze,
    length_gradients,
    path_norms,
    random_sign_squares,
    record,
    unit_shares,
)
from tests.path_gradients.conftest import pre_activation

IMAGES = 6
N = 6
SIGNS = draw_signs(N, 2, IMAGES, seed=0)
MASKS = draw_subsets(N, 3, 10, seed=0)

ESTIMATES: dict[str, Callable[[Tape], Tensor]] = {
    "exact norms": lambda tape: length_gradients(tape).norms,
    "exact shares": lambda tape: length_gradients(tape).shares,
    "sampled": lambda tape: path_norms(tape, MASKS),
    "rms": lambda tape: random_sign_squares(tape, SIGNS),
    "unit shares": unit_shares,
}


def confident(scale: float) -> tuple[ResidualNetwork, Tensor, Tensor]:
    """A network whose margins between the first and the second class are some ``scale`` nats."""
    torch.manual_seed(5)
    network = pre_activation()
    images = torch.randn(IMAGES, 6)
    with torch.no_grad():
        logits = network(images)
        top = logits.topk(2).values
        factor = scale / float((top[:, 0] - top[:, 1]).mean())
        network.head.weight.mul_(factor)
        network.head.bias.mul_(factor)
    return network, images, logits.argmax(1)


def error(
    scale: float, estimate: Callable[[Tape], Tensor], patches: dict[str, object] | None = None
) -> float:
    """Largest difference between float32 and float64, relative to the largest value of the image."""
    network, images, labels = confident(scale)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (patches or {}).items():
            patch.setattr(name, value)
        found = estimate(record(freeze(network), images, labels))
    exact = freeze(network, dtype=torch.float64)
    wanted = estimate(record(exact, images.double(), labels))
    largest = wanted.abs().flatten(0, -2).amax(0)
    return float(((found - wanted).abs() / largest).max())


def single_precision(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), labels, reduction="none")


@pytest.mark.parametrize("scale", [5, 20, 100])
@pytest.mark.parametrize("name", list(ESTIMATES))
def test_a_confident_network_agrees_with_double_precision(name: str, scale: float) -> None:
    assert error(scale, ESTIMATES[name]) < 1e-4


@pytest.mark.parametrize("name", list(ESTIMATES))
def test_with_a_loss_in_float32_it_does_not(name: str) -> None:
    patches: dict[str, object] = {"resanalysis.routes.loss.example_losses": single_precision}
    assert error(20, ESTIMATES[name], patches) > 0.05


def test_a_gradient_that_is_not_scaled_in_float64_underflows() -> None:
    def unscaled(gradient: Tensor) -> tuple[Tensor, Tensor]:
        return gradient, gradient.new_ones(len(gradient))

    patches: dict[str, object] = {"resanalysis.routes.loss.rescaled": unscaled}
    assert error(100, ESTIMATES["exact norms"], patches) > 0.05
