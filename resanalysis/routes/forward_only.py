"""The forward-only form of a network: batch norm folded into convolutions, what follows them fused.

Same function, other arithmetic order: a test holds it to the predictions of the network it is made from.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from resanalysis.errors import ResanalysisError
from resanalysis.network import Piece, ResidualNetwork, move_constants

_aten = torch.ops.aten
_BATCH_NORMS = (_aten.batch_norm.default, _aten._native_batch_norm_legit_no_training.default)
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

    Where the network's ``precision`` is ``bf16``, the parts behind the stem are, once batch norm is folded.

    Parameters
    ----------
    parts : names from ``network.parts()`` to make fast; all if left out. The others stay as they are.

    Returns
    -------
    ResidualNetwork : its pieces must not be differentiated or trained; the given one is unchanged.
    """
    target = torch.device(device) if device is not None else network.device
    if target != network.device:
        network = network.to(target)
    half = network.precision == "bf16"
    if half and not all(_is_graph(part) for part in network.parts().values()):
        network, half = in_bf16(network), False  # layers hold graphs inside
    wanted = set(parts) or set(network.parts())
    made: dict[str, nn.Module] = {}
    shared: dict[int, nn.Module] = {}
    for name, part in network.parts().items():
        if name in wanted and id(part) not in shared:
            shared[id(part)] = _fast_part(part, half and name != "stem")
        made[name] = shared.get(id(part), part)
    two_dimensional = any(_has_convolution(part) for part in network.parts().values())
    return network.with_parts(made, channels_last=two_dimensional)


def _fast_part(part: nn.Module, half: bool) -> nn.Module:
    body = getattr(part, "body", None)
    if not isinstance(body, fx.GraphModule):
        return part
    body = fx.GraphModule(body, copy.deepcopy(body.graph))
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
    if value.is_mkldnn:
        setattr(module, name, value)
    else:
        module.register_buffer(name, value, persistent=False)
    with module.graph.inserting_before(before):
        return module.graph.create_node("get_attr", name)


def _fold_batch_norm(module: fx.GraphModule) -> None:
    for node in list(module.graph.nodes):
        if node.target not in _BATCH_NORMS:
            continue
        conv = node.args[0]
        if conv.target is not _aten.conv2d.default or len(conv.users) != 1:
            continue
        if node.target is _aten.batch_norm.default:
            scale, shift, mean, variance, training, _, epsilon = node.args[1:8]
            if training:
                continue
        else:
            scale, shift, mean, variance, _, epsilon = node.args[1:7]
        weight = _tensor(module, conv.args[1])
        statistics = [_tensor(module, item) for item in (mean, variance)]
        if weight is None or statistics[0] is None or statistics[1] is None:
            continue
        bias = _tensor(module, conv.args[2]) if len(conv.args) > 2 else None
        with torch.no_grad():
            new_weight, new_bias = fuse_conv_bn_weights(
                nn.Parameter(weight, requires_grad=False),
                None if bias is None else nn.Parameter(bias, requires_grad=False),
                statistics[0],
                statistics[1],
                epsilon,
                _tensor(module, scale),
                _tensor(module, shift),
            )
        conv.update_arg(1, _constant(module, new_weight.detach(), conv))
        new_bias_node = _constant(module, new_bias.detach(), conv)
        conv.args = (*conv.args[:2], new_bias_node, *conv.args[3:])
        results = [node]
        if node.target is not _aten.batch_norm.default:
            results = [user for user in node.users if user.args[1] == 0]
        for result in results:
            result.replace_all_uses_with(conv)


def _use_channels_last(module: fx.GraphModule) -> None:
    for node in list(module.graph.nodes):
        if node.target is not _aten.conv2d.default:
            continue
        weight = _tensor(module, node.args[1])
        if weight is not None:
            weight = weight.detach().contiguous(memory_format=torch.channels_last)
            node.update_arg(1, _constant(module, weight, node))


def _pair(value: Any) -> list[int]:
    return (
        [int(value)] * 2
        if isinstance(value, int)
        else [int(item) for item in value] * (3 - len(value))
    )


def _fuse_convolutions(module: fx.GraphModule) -> None:
    """Convolutions with packed weights that add the skip and apply the ReLU as they write."""
    fused = getattr(torch.ops.mkldnn, "_convolution_pointwise", None)
    if fused is None:
        return
    module.graph.eliminate_dead_code()
    for node in list(module.graph.nodes):
        if node.target is not _aten.conv2d.default:
            continue
        weight = _tensor(module, node.args[1])
        if weight is None or weight.dtype is not torch.float32:
            continue
        bias = node.args[2] if len(node.args) > 2 else None
        stride, padding, dilation = (
            _pair(node.args[index]) if len(node.args) > index else _pair(default)
            for index, default in ((3, 1), (4, 0), (5, 1))
        )
        groups = node.args[6] if len(node.args) > 6 else 1
        value = node.args[0].meta.get("val")
        if not isinstance(value, Tensor) or value.ndim != 4:
            continue
        size = [16, *(int(length) for length in value.shape[1:] if isinstance(length, int))]
        if len(size) != 4:
            continue
        packed = torch.ops.aten.mkldnn_reorder_conv2d_weight(
            weight.to_mkldnn(), padding, stride, dilation, groups, size
        )
        last, other = node, None
        addition = _only_user(node)
        if addition is not None and addition.target is _aten.add.Tensor and not addition.kwargs:
            first, second = addition.args
            other = second if first is node else first
            if not _same_shape(other, node):
                other = None
            else:
                last = addition
        relu = _only_user(last)
        activation = "relu" if relu is not None and relu.target is _aten.relu.default else None
        if activation:
            assert relu is not None
            last = relu
        with module.graph.inserting_before(last):
            weight_node = _constant(module, packed, last)
            settings = (weight_node, bias, padding, stride, dilation, groups)
            if other is None:
                made = module.graph.call_function(
                    fused.default, (node.args[0], *settings, activation or "none", [], "")
                )
            else:
                made = module.graph.call_function(
                    fused.binary,
                    (node.args[0], other, *settings, "add", 1.0, activation, [], ""),
                )
        made.meta = dict(last.meta)
        last.replace_all_uses_with(made)
        module.graph.eliminate_dead_code()


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
        in_place = _IN_PLACE.get(node.target)
        source = node.args[0] if node.args else None
        if (
            in_place is not None
            and isinstance(source, fx.Node)
            and source.target in _FRESH
            and len(source.users) == 1
        ):
            node.target = in_place
