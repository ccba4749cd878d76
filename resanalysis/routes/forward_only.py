"""The forward-only form of a network: batch norm folded into convolutions, what follows them fused.

Same function, other arithmetic order: a test holds it to the predictions of the network it is made from.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from resanalysis.errors import ResanalysisError
from resanalysis.network import Piece, ResidualNetwork, move_constants
from resanalysis.routes.route import (
    BranchOnly,
    Bridge,
    Full,
    Parallel,
    Route,
    SkipOnly,
    Step,
    intact,
)

_aten = torch.ops.aten
BATCH_NORMS = (_aten.batch_norm.default, _aten._native_batch_norm_legit_no_training.default)
# Operations whose result is a tensor of its own, so that the next one may overwrite it.
_FRESH = {
    _aten.conv2d.default,
    _aten.linear.default,
    _aten.batch_norm.default,
    _aten.layer_norm.default,
    _aten.add.Tensor,
    _aten.mul.Tensor,
}
_IN_PLACE = {
    _aten.relu.default: _aten.relu_.default,
    _aten.hardtanh.default: _aten.hardtanh_.default,
    _aten.silu.default: _aten.silu_.default,
    _aten.hardswish.default: _aten.hardswish_.default,
}


def forward_only(
    network: ResidualNetwork, *, device: torch.device | str | None = None, parts: Iterable[str] = ()
) -> ResidualNetwork:
    """A copy for evaluation without gradients, on ``device`` (the network's own if left out).

    Where the network's ``arithmetic`` is ``bf16``, the parts behind the stem are, once batch norm is folded.

    Parameters
    ----------
    parts : names from ``network.parts()`` to make fast; all if left out. The others stay as they are.

    Returns
    -------
    ResidualNetwork : its pieces must not be differentiated or trained; the given one is unchanged. It is the
        given one where the weights are in files, and there they stay.
    """
    if network.files is not None:
        return network
    target = torch.device(device) if device is not None else network.device
    if target != network.device:
        network = network.to(target)
    half = network.arithmetic == "bf16"
    if half and not all(_is_graph(part) for part in network.parts().values()):
        network, half = in_bf16(network), False  # layers hold graphs inside
    made = _fast_parts(network.parts(), set(parts), half)
    two_dimensional = any(_has_convolution(part) for part in network.parts().values())
    return network.with_parts(made, channels_last=two_dimensional)


def _fast_parts(
    there: Mapping[str, nn.Module], wanted: set[str], half: bool
) -> dict[str, nn.Module]:
    # By identity: what units share is one module, and is made fast once.
    fast: dict[int, nn.Module] = {}
    for name, part in there.items():
        if name in (wanted or there) and id(part) not in fast:
            fast[id(part)] = _fast_part(part, half and name != "stem")
    return {name: fast.get(id(part), part) for name, part in there.items()}


def parts_run(network: ResidualNetwork, routes: Sequence[Route]) -> set[str]:
    """The parts that the routes and the intact network run, so that only these are made fast."""
    always = {name for name in network.parts() if name.startswith(("stem", "bridge", "head"))}
    steps = {step for route in (*routes, intact(network)) for step in route.steps}
    return always.union(*(_parts_of_step(network, step) for step in steps))


def _parts_of_step(network: ResidualNetwork, step: Step) -> set[str]:
    fields: tuple[str, ...]
    match step:
        case Bridge():
            return set()
        case Parallel(units):
            fields = ("full", "whole", "branch", "join")
            return {f"unit{unit}.{name}" for unit in units for name in fields}
        # A unit that is scaled adds up its parts, and so does a plain layer, which has no `full`.
        case Full(unit, 1.0) if network.units[unit].skip_kind != "none":
            fields = ("full", "whole", "join")
        case Full(unit):
            fields = ("skip", "branch", "join")
        case SkipOnly(unit):
            fields = ("skip", "join")
        case BranchOnly(unit):
            fields = ("branch", "join")
    return {f"unit{unit}.{name}" for name in fields}


def _fast_part(part: nn.Module, half: bool) -> nn.Module:
    body = getattr(part, "body", None)
    if not isinstance(body, fx.GraphModule):
        return part
    body = fx.GraphModule(body, copy.deepcopy(body.graph))
    # In this order: statistics are folded in float32, before anything is rounded; packed weights are made of
    # the folded ones; and what nobody else reads is known when all is fused.
    _fold_batch_norm(body)
    if half:
        body.graph.eliminate_dead_code()  # leaves the unfolded weights behind
        body.delete_all_unused_submodules()
        body = copy.deepcopy(body).to(torch.bfloat16)
        for place in {tensor.device for tensor in body.state_dict().values()}:
            move_constants(body, place, torch.bfloat16)
    _use_channels_last(body)
    device = next((tensor.device for tensor in body.state_dict().values()), None)
    if device is not None and device.type == "cpu" and torch.backends.mkldnn.is_available():
        _fuse_convolutions(body)
    _overwrite_fresh_tensors(body.graph)
    body.graph.eliminate_dead_code()
    body.recompile()
    if isinstance(part, Piece):
        return Piece(body, part.reads)
    changed = copy.copy(part)
    changed._modules = {**part._modules, "body": body}
    return changed


def in_bf16(network: ResidualNetwork) -> ResidualNetwork:
    """A copy in bf16 but for the stem, where positions and their angles would lose too much.

    Raises
    ------
    ResanalysisError : for a part inside a larger model.
    """
    stem = network.stem
    if not isinstance(getattr(stem, "body", None), fx.GraphModule):
        raise ResanalysisError(
            f"bf16 is for whole models: what is around a part of {network.name} runs as it is"
        )
    return replace(network.to(network.device, torch.bfloat16), stem=stem)


def _is_graph(part: nn.Module) -> bool:
    return isinstance(part, nn.Identity) or isinstance(getattr(part, "body", None), fx.GraphModule)


def _has_convolution(part: nn.Module) -> bool:
    body = getattr(part, "body", None)
    return isinstance(body, fx.GraphModule) and any(
        "conv" in str(node.target) for node in body.graph.nodes
    )


def _tensor(module: fx.GraphModule, node: Any) -> Tensor | None:
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    value = getattr(module, str(node.target), None)
    return value if isinstance(value, Tensor) else None


def _constant(module: fx.GraphModule, value: Tensor, before: fx.Node) -> fx.Node:
    index = 0
    while hasattr(module, f"_constant_{index}"):
        index += 1
    name = f"_constant_{index}"
    # A packed tensor has no storage that could be moved or saved as a buffer's is.
    if value.is_mkldnn:
        setattr(module, name, value)
    else:
        module.register_buffer(name, value, persistent=False)
    with module.graph.inserting_before(before):
        return module.graph.create_node("get_attr", name)


def _fold_batch_norm(module: fx.GraphModule) -> None:
    """Batch norms that read a convolution alone become part of its weights and bias."""
    for node in list(module.graph.nodes):
        if node.target not in BATCH_NORMS:
            continue
        conv = node.args[0]
        # Whoever else reads the convolution wants it without the norm.
        if conv.target is not _aten.conv2d.default or len(conv.users) != 1:
            continue
        folded = _folded_weights(module, conv, node)
        if folded is None:
            continue
        weight, bias = (_constant(module, value, conv) for value in folded)
        conv.args = (conv.args[0], weight, bias, *conv.args[3:])
        for result in values_of_norm(node):
            result.replace_all_uses_with(conv)


def _folded_weights(
    module: fx.GraphModule, conv: fx.Node, norm: fx.Node
) -> tuple[Tensor, Tensor] | None:
    """Weight and bias of both together; ``None`` where the norm takes its statistics from the batch."""
    scale, shift, mean, variance, *rest = norm.args[1:]
    if norm.target is _aten.batch_norm.default:
        training, _, epsilon = rest[:3]
        if training:
            return None
    else:
        _, epsilon = rest[:2]
    weight, centre, spread = (_tensor(module, item) for item in (conv.args[1], mean, variance))
    if weight is None or centre is None or spread is None:
        return None
    bias = _tensor(module, conv.args[2]) if len(conv.args) > 2 else None
    with torch.no_grad():
        # γ (w x + b − μ) / √(σ² + ε) + β is a convolution with w γ / √(σ² + ε).
        new_weight, new_bias = fuse_conv_bn_weights(
            nn.Parameter(weight, requires_grad=False),
            None if bias is None else nn.Parameter(bias, requires_grad=False),
            centre,
            spread,
            epsilon,  # type: ignore[arg-type]
            _tensor(module, scale),
            _tensor(module, shift),
        )
    return new_weight.detach(), new_bias.detach()


def values_of_norm(norm: fx.Node) -> list[fx.Node]:
    """Nodes that hold the normalised values: the legit form returns them with its statistics, as a tuple."""
    if norm.target is _aten.batch_norm.default:
        return [norm]
    return [user for user in norm.users if user.args[1] == 0]


def _use_channels_last(module: fx.GraphModule) -> None:
    for node in list(module.graph.nodes):
        if node.target is not _aten.conv2d.default:
            continue
        weight = _tensor(module, node.args[1])
        if weight is not None:
            # Once here, or each call would lay the weight out anew.
            weight = weight.detach().contiguous(memory_format=torch.channels_last)
            node.update_arg(1, _constant(module, weight, node))


def _fuse_convolutions(module: fx.GraphModule) -> None:
    """Convolutions with packed weights that add the skip and apply the ReLU as they write."""
    if getattr(torch.ops.mkldnn, "_convolution_pointwise", None) is None:
        return
    module.graph.eliminate_dead_code()
    for node in list(module.graph.nodes):
        if node.target is not _aten.conv2d.default:
            continue
        settings = _convolution_settings(node)
        packed = _packed_weight(module, node, settings)
        if packed is None:
            continue
        other, addition = _added(node)
        last = addition or node
        relu = _only_user(last)
        activation = "relu" if relu is not None and relu.target is _aten.relu.default else None
        if relu is not None and activation:
            last = relu
        made = _fused(module, node, packed, settings, other, activation, last)
        made.meta = dict(last.meta)
        last.replace_all_uses_with(made)
        module.graph.eliminate_dead_code()


Settings = tuple[list[int], list[int], list[int], int]
"""Padding, stride, dilation and groups of a convolution, in the order of mkldnn."""


def _convolution_settings(conv: fx.Node) -> Settings:
    """Trailing arguments that have their default are not in the graph."""
    given, usual = list(conv.args[3:]), [1, 0, 1, 1]
    stride, padding, dilation, groups = given + usual[len(given) :]
    return _pair(padding), _pair(stride), _pair(dilation), int(groups)  # type: ignore[arg-type]


def _pair(value: Any) -> list[int]:
    if isinstance(value, int):
        return [value] * 2
    return [int(item) for item in value] * (3 - len(value))


def _packed_weight(module: fx.GraphModule, conv: fx.Node, settings: Settings) -> Tensor | None:
    """The weight in the layout that mkldnn likes best for images of this size, if it is float32."""
    weight = _tensor(module, conv.args[1])
    value = conv.args[0].meta.get("val") if isinstance(conv.args[0], fx.Node) else None
    if weight is None or weight.dtype is not torch.float32 or not isinstance(value, Tensor):
        return None
    if value.ndim != 4 or not all(isinstance(length, int) for length in value.shape[1:]):
        return None
    # The layout hardly depends on the number of images, which is free.
    size = [16, *(int(length) for length in value.shape[1:])]
    return torch.ops.aten.mkldnn_reorder_conv2d_weight(weight.to_mkldnn(), *settings, size)


def _added(conv: fx.Node) -> tuple[Any, fx.Node | None]:
    """What is added to a convolution and nothing else reads, with the addition."""
    addition = _only_user(conv)
    # `alpha` is an addition's one keyword, and the fused form takes 1 alone.
    if addition is None or addition.target is not _aten.add.Tensor or addition.kwargs:
        return None, None
    first, second = addition.args
    other = second if first is conv else first
    return (other, addition) if _same_shape(other, conv) else (None, None)


def _fused(
    module: fx.GraphModule,
    conv: fx.Node,
    packed: Tensor,
    settings: Settings,
    other: fx.Node | None,
    activation: str | None,
    before: fx.Node,
) -> fx.Node:
    """One node for the convolution, the addition and the ReLU."""
    fused = torch.ops.mkldnn._convolution_pointwise
    entered, _, *rest = conv.args
    bias = rest[0] if rest else None
    with module.graph.inserting_before(before):
        shared = (_constant(module, packed, before), bias, *settings)
        # Both forms make a tensor of their own. The one that writes into the skip would be faster still, and
        # other routes go on from the skip.
        if other is None:
            arguments = (entered, *shared, activation or "none", [], "")
            return module.graph.call_function(fused.default, arguments)
        arguments = (entered, other, *shared, "add", 1.0, activation, [], "")
        return module.graph.call_function(fused.binary, arguments)


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _same_shape(other: Any, node: fx.Node) -> bool:
    if not isinstance(other, fx.Node) or other is node:
        return False
    first, second = other.meta.get("val"), node.meta.get("val")
    return (
        isinstance(first, Tensor)
        and isinstance(second, Tensor)
        and first.shape == second.shape
        and first.dtype == second.dtype
    )


def _overwrite_fresh_tensors(graph: fx.Graph) -> None:
    for node in graph.nodes:
        # Only what an operation of this piece has just made, and nobody else reads. The stream that came in is
        # the evaluator's, who starts other routes from it.
        in_place = _IN_PLACE.get(node.target)
        source = node.args[0] if node.args else None
        if (
            in_place is not None
            and isinstance(source, fx.Node)
            and source.target in _FRESH
            and len(source.users) == 1
        ):
            node.target = in_place
