"""A captured graph without operations in place, and without those that change no value."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn

# What leaves values as they are in eval mode; the graph is read without it.
_TRANSPARENT = {"dropout", "clone", "contiguous", "alias", "lift_fresh_copy", "to", "_to_copy"}


def made_functional(module: fx.GraphModule) -> bool:
    """Put simple in-place operations out of place; false where a view of the changed tensor exists.

    ``relu_(h)`` becomes ``relu(h)``, and what read ``h`` after it reads the result instead. That is only
    right while no other tensor shares the memory of ``h``: a view would have seen the change too. Then
    torch's own functionalisation has to do it, which splits linear layers and norms into many operations
    and is therefore the second choice.
    """
    graph = module.graph
    position = {node: index for index, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        if node.op == "call_module":
            graph.erase_node(node)  # a check of the inputs
        elif _is_in_place(node) and not _put_out_of_place(node, position):
            return False
    module.recompile()
    return True


def _is_in_place(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _put_out_of_place(node: fx.Node, position: dict[fx.Node, int]) -> bool:
    changed = node.args[0] if node.args else None
    functional = _functional_overload(node.target)
    if functional is None or not isinstance(changed, fx.Node) or _writes(node.target) != 1:
        return False
    # A view made later is made of the result, and is right by itself. One made before would keep the old
    # values.
    if _is_shared(changed, position[node], position):
        return False
    node.target = functional
    changed.replace_all_uses_with(
        node,
        # What read the tensor before the change goes on reading it.
        delete_user_cb=lambda user: user is not node and position[user] > position[node],
    )
    return True


def _is_shared(changed: fx.Node, at: int, position: dict[fx.Node, int]) -> bool:
    """Whether other tensors, or the model itself, hold the memory that is written to at ``at``."""
    if changed.op in {"get_attr", "placeholder"} or _is_view(changed):
        return True
    return any(_is_view(user) for user in changed.users if position[user] < at)


def _writes(target: Any) -> int:
    """The number of arguments the operation writes to."""
    aliases = [argument.alias_info for argument in target._schema.arguments]
    return sum(alias is not None and alias.is_write for alias in aliases)


def _functional_overload(target: Any) -> Any:
    namespace, _, name = target._schema.name.partition("::")
    if not name.endswith("_"):
        return None
    packet = getattr(getattr(torch.ops, namespace), name[:-1], None)
    return getattr(packet, target._overloadname, None) if packet is not None else None


def _is_view(node: fx.Node) -> bool:
    if node.target is operator.getitem:
        return True
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and any(
        argument.alias_info is not None and not argument.alias_info.is_write
        for argument in target._schema.arguments
    )


def freeze(module: fx.GraphModule) -> None:
    """Weights as constants that share storage with the model's: moving them leaves the model alone."""
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            # Without gradients of their own: sweeps backwards ask for the stream's alone, and autograd keeps
            # nothing for weights.
            frozen = nn.Parameter(parameter.detach(), requires_grad=False)
            part.register_parameter(name, frozen)


def allow_any_layout(graph: fx.Graph) -> None:
    """Reshape instead of view: pieces run on streams of other strides than the model's own."""
    for node in graph.nodes:
        if node.target in {torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default}:
            node.target = torch.ops.aten.reshape.default


def drop_transparent(graph: fx.Graph) -> None:
    """Remove what hands its input on: dropout in eval mode, copies, casts to the same type."""
    for node in list(graph.nodes):
        if not isinstance(node.target, torch._ops.OpOverload):
            continue
        name = node.target._schema.name.partition("::")[2]
        if name == "_assert_tensor_metadata":
            graph.erase_node(node)
        elif name in _TRANSPARENT and _hands_on(node):
            node.replace_all_uses_with(node.all_input_nodes[0])
            graph.erase_node(node)


def _hands_on(node: fx.Node) -> bool:
    """Whether the node's value is that of its first argument in type, place and shape."""
    if not isinstance(node.args[0], fx.Node):
        return False
    # By what was captured: `to` is a cast in one model and nothing in the next.
    before, after = node.args[0].meta.get("val"), node.meta.get("val")
    if not isinstance(before, Tensor) or not isinstance(after, Tensor):
        return False
    return (before.dtype, before.device, before.shape) == (after.dtype, after.device, after.shape)
