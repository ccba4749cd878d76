"""Slow, obvious second opinions: forward hooks on the model's own modules, one whole pass a route."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

from resanalysis.statistics.bootstrap import RESAMPLES


def with_zeroed(model: nn.Module, modules: Sequence[nn.Module], inputs: Tensor) -> Tensor:
    """The model's output while the outputs of some modules are replaced with zeros."""
    handles = [
        module.register_forward_hook(lambda _m, _i, output: torch.zeros_like(output))
        for module in modules
    ]
    try:
        with torch.no_grad():
            return model(inputs)
    finally:
        for handle in handles:
            handle.remove()


def post_activation_pass(
    model: nn.Module,
    inputs: Tensor,
    order: Sequence[int],
    change: Callable[[int, Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """A CIFAR ResNet (v1) written out as a loop over its blocks, visited in ``order``.

    ``change(unit, skip, branch)`` returns what enters the final ReLU of a unit.
    """
    blocks = [block for stage in ("layer1", "layer2", "layer3") for block in getattr(model, stage)]
    with torch.no_grad():
        h = torch.relu(model.bn1(model.conv1(inputs)))
        for unit in order:
            block = blocks[unit]
            branch = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(h)))))
            skip = block.shortcut(h)
            h = torch.relu(skip + branch if change is None else change(unit, skip, branch))
        return model.linear(h.mean((2, 3)))


def bca(values: NDArray[np.floating], seed: int = 0) -> tuple[float, float]:
    """scipy's BCa interval of a mean over the resamples that tables have."""
    found = stats.bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, method="BCa", rng=np.random.default_rng(seed)
    ).confidence_interval
    return float(found.low), float(found.high)
