"""Hold the unraveled view to the model: the same output, or an error that names the difference."""

from __future__ import annotations

from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from resanalysis.network import Inputs, ResidualNetwork
from resanalysis.view.capture import as_arguments, evaluation_mode
from resanalysis.view.errors import UnravelError

_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 5e-2}


def check_view(network: ResidualNetwork, model: nn.Module, example: Inputs) -> float:
    """Compare the chain with the model on the example and on random input of its shape.

    Returns
    -------
    float : the largest absolute difference, relative to the largest output.

    Raises
    ------
    UnravelError : if it exceeds 1e-4 (single precision).
    """
    worst = 0.0
    for kind, inputs in (("the example", example), ("random input", _random_like(example))):
        args, kwargs = as_arguments(inputs)
        with evaluation_mode(model), torch.no_grad():
            expected = _matching(model(*args, **kwargs), network(inputs))
        if not expected.isfinite().all():
            if inputs is not example:
                continue  # noise can overflow a network that real input does not
            raise UnravelError(
                f"the output of {network.name} itself is NaN or infinite on the example: check its "
                "weights, and how the input is normalised"
            )
        got = network_output(network, inputs)
        difference = float((expected - got).abs().max() / expected.abs().max().clamp_min(1e-12))
        if not difference <= _TOLERANCE.get(expected.dtype, 1e-4):
            raise UnravelError(
                f"the unraveled view of {network.name} does not compute what the model does: on {kind} "
                f"the outputs differ by {difference:.2g} of the largest one. The model may be random in "
                "eval mode, or keep state between calls; analyse a part of it with --submodule PATH"
            )
        worst = max(worst, difference)
    return worst


def network_output(network: ResidualNetwork, inputs: Inputs) -> Tensor:
    """The chain's output without gradient."""
    with torch.no_grad():
        return network(inputs)


def _matching(output: Any, like: Tensor) -> Tensor:
    """The tensor of the model's output that the view ends in."""
    leaves = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]
    same = [leaf for leaf in leaves if leaf.shape == like.shape and leaf.is_floating_point()]
    if not same:
        raise UnravelError(
            f"the view ends in a tensor of shape {tuple(like.shape)}, and the model returns none such"
        )
    return min(same, key=lambda leaf: float((leaf - like).abs().max().nan_to_num(torch.inf)))


def _random_like(example: Inputs) -> Inputs:
    generator = torch.Generator().manual_seed(0)

    def fresh(value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator)
            return noise.to(value.device, value.dtype)
        return value

    return pytree.tree_map(fresh, example)
