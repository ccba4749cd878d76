"""What one unit does to the stream, for each image: norms, angles, gates, and the scale its branch ends in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from resanalysis.errors import ResanalysisError
from resanalysis.network import ResidualNetwork, ResidualUnit, Side, run_piece
from resanalysis.routes.batches import Batch


@dataclass(frozen=True, eq=False)
class Passage:
    """What passed through one unit.

    Attributes
    ----------
    unit : which.
    entered, left : the stream before it (after the bridge, if there is one) and after its join.
    skip : ``None`` for a layer of a plain network.
    branch : what the unit adds.
    side : what it could read beside the stream.
    """

    unit: ResidualUnit
    entered: Tensor
    skip: Tensor | None
    branch: Tensor
    left: Tensor
    side: Side


def passages(
    network: ResidualNetwork,
    h: Tensor,
    side: Side,
    see: Callable[[Passage], None],
    *,
    start: int = 0,
) -> tuple[Tensor, Side]:
    """Send the stream through the chain and show what passes each unit; what the head takes is returned.

    A passage lives no longer than ``see`` keeps it. ``start`` is the unit that the stream is before.
    """

    def step(unit: ResidualUnit, entered: Tensor, beside: Side) -> Tensor:
        # Apart, and not `whole`: both are to be seen, and what they share is computed twice.
        branch = run_piece(unit.branch, entered, beside)
        skip = None if unit.skip_kind == "none" else run_piece(unit.skip, entered, beside)
        left = run_piece(unit.join, branch if skip is None else skip + branch, beside)
        see(Passage(unit, entered, skip, branch, left, beside))
        return left

    return network.walk(h, side, step, start=start)


def check_finite(what: str, unit: ResidualUnit, values: Tensor, batch: Batch) -> None:
    """Refuse what is not finite on the examples (N, …) of a batch, beginning its message with ``what``.

    Raises
    ------
    ResanalysisError : naming the unit and the examples.
    """
    if not bool(values[: batch.stop - batch.start].isfinite().all()):
        raise ResanalysisError(
            f"the {what} unit {unit.index} ({unit.name}) is not finite on examples {batch.start} to "
            f"{batch.stop - 1}: check the weights, and how the input is normalised"
        )


def vectors(h: Tensor) -> Tensor:
    """A stream as vectors (N, V, D) in double precision.

    A sequence (N, T, C) has one vector a token; anything else (N, C, H, W; N, C) is one vector an image.
    """
    if h.device.type == "mps":  # it has no double precision
        h = h.cpu()
    # Double: streams are compared that differ in the fourth digit, and angles near 0 lose half of the digits.
    return h.double() if h.ndim == 3 else h.double().flatten(1)[:, None]


def norms(h: Tensor) -> Tensor:
    """Euclidean norm (N, V) of each vector."""
    return torch.linalg.vector_norm(vectors(h), dim=-1)


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """Cosine (N, V) of the angle between two streams; NaN where one is zero."""
    one, other = vectors(first), vectors(second)
    product = torch.linalg.vector_norm(one, dim=-1) * torch.linalg.vector_norm(other, dim=-1)
    return ((one * other).sum(-1) / torch.where(product > 0, product, torch.nan)).clamp(-1, 1)


def angular_distances(streams: list[Tensor]) -> Tensor:
    """Angle over π between every two of K streams of one shape: (K, K, N, V), 0 to 1; NaN where one is zero.

    Source: Gromov et al. 2024, equation for d(x_l, x_{l+n}).
    """
    stacked = torch.stack([vectors(h) for h in streams])
    length = torch.linalg.vector_norm(stacked, dim=-1, keepdim=True)
    unit = stacked / torch.where(length > 0, length, torch.nan)
    # Rounding puts the cosine of a stream with itself beside 1, where acos is NaN.
    return torch.einsum("anvd,bnvd->abnv", unit, unit).clamp(-1, 1).acos() / torch.pi


def image_mean(values: Tensor, kept: Tensor | None = None) -> Tensor:
    """Mean (N,) over an image's vectors (N, V), those that are NaN or not ``kept`` left out."""
    if kept is not None and kept.shape == values.shape:
        values = torch.where(kept.to(values.device), values, torch.nan)
    return values.nanmean(-1)


def transform_gate(passage: Passage) -> Tensor:
    """Mean (N,) of a highway unit's gate t, read off its skip (1 − t)·h where h is not zero.

    Source: Srivastava, Greff and Schmidhuber 2015.
    """
    assert passage.skip is not None
    h, carried = passage.entered.flatten(1).double(), passage.skip.flatten(1).double()
    # Elementwise t = 1 − skip/h: the gate is no tensor of the view, and wherever h is 0 it cannot be seen.
    return (1 - carried / torch.where(h != 0, h, torch.nan)).nanmean(1)


def batch_norm_scale(branch: nn.Module) -> float | None:
    """Mean |γ| of the batch norm a branch ends in; ``None`` if it ends in something else."""
    found = _ending(branch)
    return None if found is None or found[0] != "batch_norm" else found[1]


def learned_scale(branch: nn.Module) -> float | None:
    """Mean absolute factor a branch ends in (layer scale, SkipInit, a fixed residual scale), or ``None``.

    Source: papers that scale residuals: Szegedy et al. 2017, De and Smith 2020, Touvron et al. 2021.
    """
    found = _ending(branch)
    return None if found is None or found[0] != "factor" else found[1]


def gate_bias(skip: nn.Module) -> float | None:
    """Mean bias of a highway unit's transform gate; ``None`` if it has none. It starts below 0: carrying.

    Source: Srivastava, Greff and Schmidhuber 2015, §2.2.
    """
    body = getattr(skip, "body", skip)
    if not isinstance(body, fx.GraphModule):
        return None
    for node in body.graph.nodes:
        if node.op == "call_function" and _operation(node) == "sigmoid":
            linear = node.args[0]
            bias = linear.args[2] if len(linear.args) > 2 else None
            if isinstance(bias, fx.Node) and bias.op == "get_attr":
                return float(_attribute(body, str(bias.target)).detach().double().mean().cpu())
    return None


def _ending(branch: nn.Module) -> tuple[str, float] | None:
    body = getattr(branch, "body", branch)
    if isinstance(body, fx.GraphModule):
        return _ending_of_graph(body)
    weighted = [m for m in body.modules() if any(True for _ in m.parameters(recurse=False))]
    if not weighted or not hasattr(weighted[-1], "running_mean"):
        return None
    return "batch_norm", _mean_size(weighted[-1].weight)


# What may follow the scale without changing which values it multiplied.
_PASSED = {
    "getitem", "dropout", "clone", "reshape", "view", "permute", "transpose", "flatten", "unsqueeze",
    "squeeze", "to", "_to_copy", "contiguous", "expand",
}  # fmt: skip


def _ending_of_graph(body: fx.GraphModule) -> tuple[str, float] | None:
    """Walk back from the output over what only moves values, to the last operation that computes."""
    node: Any = next(node for node in body.graph.nodes if node.op == "output").args[0]
    while isinstance(node, fx.Node) and node.op == "call_function":
        name = _operation(node)
        if "batch_norm" in name:
            return _norm_scale(body, node.args[1])
        if name == "mul":
            return _constant_factor(body, *node.args[:2])
        if name not in _PASSED:
            return None
        node = node.args[0]
    return None


def _norm_scale(body: fx.GraphModule, weight: Any) -> tuple[str, float] | None:
    if not isinstance(weight, fx.Node) or weight.op != "get_attr":
        return None
    return "batch_norm", _mean_size(_attribute(body, str(weight.target)))


def _constant_factor(body: fx.GraphModule, first: Any, second: Any) -> tuple[str, float] | None:
    """Of a product with values, whichever of the two is the factor."""
    for factor, other in ((first, second), (second, first)):
        size = _factor(body, factor)
        if size is not None and isinstance(other, fx.Node):
            return "factor", size
    return None


def _operation(node: fx.Node) -> str:
    name = getattr(node.target, "_schema", None)
    if name is None:
        return str(getattr(node.target, "__name__", node.target))
    return str(name.name).partition("::")[2]


def _factor(body: fx.GraphModule, argument: Any) -> float | None:
    """Size of a constant factor: a number, or a weight that was only reshaped."""
    if isinstance(argument, (int, float)):
        return abs(float(argument))
    while isinstance(argument, fx.Node) and argument.op == "call_function":
        if _operation(argument) not in _PASSED:
            return None
        argument = argument.args[0]
    if isinstance(argument, fx.Node) and argument.op == "get_attr":
        return _mean_size(_attribute(body, str(argument.target)))
    return None


def _attribute(body: fx.GraphModule, path: str) -> Any:
    found: Any = body
    for part in path.split("."):
        found = getattr(found, part)
    return found


def _mean_size(weight: Any) -> float:
    return 1.0 if weight is None else float(weight.detach().double().abs().mean().cpu())
