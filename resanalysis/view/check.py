"""Hold the unraveled view to the model: the same output, or an error that names the difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from resanalysis.network import Inputs, ResidualNetwork
from resanalysis.view.calling import as_arguments, of_size, random_like
from resanalysis.view.errors import UnravelError
from resanalysis.view.undisturbed import evaluation_mode

_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 5e-2}
# The kernels of another batch size sum in another order, and a deep network adds that up.
_APART = {torch.float64: 1e-7, torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 5e-2}


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
    # Noise as well: what the example happens not to switch on would not be compared.
    for kind, inputs in (("the example", example), ("random input", random_like(example))):
        got = network_output(network, inputs)
        expected = _matching(model_output(model, inputs), got)
        if not expected.isfinite().all():
            if inputs is not example:
                continue  # noise can overflow a network that real input does not
            raise UnravelError(
                f"the output of {network.name} itself is NaN or infinite on the example: check its "
                "weights, and how the input is normalised"
            )
        difference = _relative_difference(expected, got)
        # Not `>`: NaN compares as false either way, and must not pass.
        if not difference <= _TOLERANCE.get(expected.dtype, 1e-4):
            raise UnravelError(
                f"the unraveled view of {network.name} does not compute what the model does: on {kind} "
                f"the outputs differ by {difference:.2g} of the largest one. The model may be random in "
                "eval mode, or keep state between calls; analyse a part of it with --submodule PATH"
            )
        worst = max(worst, difference)
    return worst


def check_examples_apart(
    model: nn.Module,
    run: Callable[[Inputs], Tensor],
    example: Inputs,
    name: str,
    batch_size: int | None = None,
) -> None:
    """Refuse a model whose output for one example depends on the others in its batch.

    Its scores would depend on ``--batch-size``. The first row of the example is run twice: among rows of
    noise, and among copies of itself in a batch of another size, so that neither what the others hold nor
    how many they are may matter.

    Parameters
    ----------
    run : from inputs to the output, one row an example.
    batch_size : the only size it takes, if there is one; then the size stays the same.

    Raises
    ------
    UnravelError : if the first rows differ; names the batch norms without running statistics.
    """
    first = of_size(example, 1)
    noise = _reversed(random_like(of_size(first, batch_size or 3)))
    among_others = pytree.tree_map(_first_row_of, of_size(first, batch_size or 3), noise)
    alone, together = run(of_size(first, batch_size or 2))[0], run(among_others)[0]
    if not alone.isfinite().all():
        return  # said by check_view where it is the example's own output
    same_shape = alone.shape == together.shape
    difference = _relative_difference(alone, together) if same_shape else float("inf")
    if difference <= _APART.get(alone.dtype, 1e-3):
        return
    raise UnravelError(
        f"{name} mixes the examples of a batch: with other examples beside it, the output for one changes "
        f"by {difference:.2g} of the largest number, so that scores would depend on the batch size. The "
        f"cause: {_why_mixed(model)}"
    )


def _why_mixed(model: nn.Module) -> str:
    norms = [
        path
        for path, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None
    ]
    if not norms:
        return "something in it reads across the batch; analyse a part that does not with --submodule PATH"
    more = f" and {len(norms) - 3} more" if len(norms) > 3 else ""
    return (
        f"batch norm without running statistics ({', '.join(norms[:3])}{more}); load the statistics, or "
        "train with track_running_stats=True"
    )


def _first_row_of(example: Any, others: Any) -> Any:
    """The first row of one and the other rows of the other."""
    if not isinstance(example, Tensor) or not example.ndim:
        return example
    return torch.cat([example[:1], others[1:]])


def _reversed(inputs: Inputs) -> Inputs:
    """Every row back to front: other tokens where there is no noise, and all of them known."""
    return pytree.tree_map(
        lambda value: value.flip(-1) if isinstance(value, Tensor) and value.ndim > 1 else value,
        inputs,
    )


def _relative_difference(expected: Tensor, got: Tensor) -> float:
    return float((expected - got).abs().max() / expected.abs().max().clamp_min(1e-12))


def model_output(model: nn.Module, inputs: Inputs) -> Any:
    """All that the model itself returns, in eval mode and without gradient."""
    args, kwargs = as_arguments(inputs)
    with evaluation_mode(model), torch.no_grad():
        return model(*args, **kwargs)


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
