"""Links of the chain → a ResidualNetwork of runnable pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from resanalysis.network import ResidualNetwork, ResidualUnit, SkipKind
from resanalysis.view.capture import Captured
from resanalysis.view.chain import Link, link
from resanalysis.view.cut import Cut, Cutter, depends_on
from resanalysis.view.errors import UnravelError
from resanalysis.view.naming import layer_path, module_path, unit_names
from resanalysis.view.trunk import Addition, Trunk, between

_aten = torch.ops.aten


def assemble(
    captured: Captured, trunk: Trunk, name: str, outputs: tuple[fx.Node, ...] = ()
) -> ResidualNetwork:
    """Cut the graph at the units of the trunk.

    Parameters
    ----------
    outputs : make the head return all of these as a tuple, not the trunk's last node.
    """
    links = link(trunk)
    boundaries = [node for item in links for node in (item.entry, item.exit)]
    cutter = Cutter(captured, boundaries)
    cuts = [_unit_cuts(item) for item in links]
    crossings = [
        None if index == 0 or item.entry is links[index - 1].exit else (links[index - 1], item)
        for index, item in enumerate(links)
    ]
    bridges = [None if pair is None else Cut(pair[0].exit, pair[1].entry) for pair in crossings]
    head = Cut(links[-1].exit, trunk.nodes[-1])
    taps: dict[int, fx.Node] = {}
    if outputs:
        taps = _taps(outputs, links, depends_on(captured.module.graph, links[0].entry))
        head = Cut(
            links[-1].exit,
            trunk.nodes[-1],
            make=lambda _graph, copied: tuple(copied(node) for node in outputs),
            needs=outputs,
            taps=tuple(taps.values()),
        )
    cutter.choose_side_inputs(
        [
            *(Cut(item.entry, item.exit) for item in links),
            *(bridge for bridge in bridges if bridge is not None),
            head,
        ]
    )
    names = unit_names(
        [module_path(item.addition.node) for item in links],
        [_weights(item.addition, trunk, captured.module) for item in links],
    )
    units: list[ResidualUnit] = []
    for index, (item, parts) in enumerate(zip(links, cuts, strict=True)):
        in_shape, out_shape = shape_of(item.entry), shape_of(item.exit)
        transition = in_shape != out_shape
        stage = units[-1].stage if units else 0
        if units and (transition or bridges[index] is not None or units[-1].out_shape != in_shape):
            stage += 1
        units.append(
            ResidualUnit(
                index=index,
                name=names[index],
                **{part: cutter.piece(cut) for part, cut in parts.items()},
                skip_kind=_skip_kind(item, captured.module, trunk),
                stage=stage,
                transition=transition,
                in_shape=in_shape,
                out_shape=out_shape,
                parameters=_parameter_count(captured.module, item, trunk),
                group=layer_path(module_path(item.addition.node)) or names[index],
            )
        )
    return ResidualNetwork(
        stem=cutter.stem(links[0].entry),
        units=tuple(units),
        head=cutter.piece(head),
        bridges=tuple(None if bridge is None else cutter.piece(bridge) for bridge in bridges),
        taps=tuple(taps),
        name=name,
        batch_size=captured.batch_size,
    )


def _taps(
    outputs: Sequence[fx.Node], links: Sequence[Link], stream: frozenset[fx.Node]
) -> dict[int, fx.Node]:
    """Where on the chain the outputs read the stream: the tensor that enters it, or leaves a unit, by position.

    Raises
    ------
    UnravelError : if an output is made inside a unit.
    """
    at = {item.exit: position for position, item in enumerate(links, start=1)}
    at[links[0].entry] = 0
    inside = {
        node: index
        for index, item in enumerate(links)
        for node in between(item.entry, (item.exit,), stream) & stream - {item.exit}
    }
    found: dict[int, fx.Node] = {}
    seen: set[fx.Node] = set()
    todo = list(outputs)
    while todo:
        node = todo.pop()
        if node in seen or node not in stream:
            continue
        seen.add(node)
        if node in at:
            if at[node] < len(links):
                found[at[node]] = node
        elif node in inside:
            raise UnravelError(
                f"an output of this part is made inside unit {inside[node]} "
                f"({module_path(links[inside[node]].addition.node)}, operation {node.name}), not between "
                "units: name a part that ends after it, or the whole model"
            )
        else:
            todo.extend(node.all_input_nodes)
    return dict(sorted(found.items()))


def _unit_cuts(item: Link) -> dict[str, Cut]:
    addition = item.addition
    return {
        "skip": Cut(item.entry, addition.skip),
        "branch": Cut(item.entry, addition.node, make=_summed(addition), needs=addition.branch),
        "whole": Cut(item.entry, addition.node),
        "join": Cut(addition.node, item.exit),
        "full": Cut(item.entry, item.exit),
    }


def _summed(
    addition: Addition,
) -> Callable[[fx.Graph, Callable[[fx.Node], fx.Node]], fx.Node]:
    """The branch's terms added up, with the factor that ``add(alpha=…)`` puts on its second operand."""

    def make(graph: fx.Graph, copied: Callable[[fx.Node], fx.Node]) -> fx.Node:
        result = copied(addition.branch[0])
        for term in addition.branch[1:]:
            result = graph.call_function(_aten.add.Tensor, (result, copied(term)))
        factor = addition.node.kwargs.get("alpha", 1)
        if factor != 1:
            result = graph.call_function(_aten.mul.Tensor, (result, factor))
        return result

    return make


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Shape without the batch dimension; a symbolic length is given by its value in the example."""
    value = node.meta["val"]
    assert isinstance(value, Tensor)
    return tuple(
        length if isinstance(length, int) else int(length.node.hint) for length in value.shape[1:]
    )


def _weights(addition: Addition, trunk: Trunk, module: fx.GraphModule) -> dict[str, int]:
    """Module paths of the layers with weights that only the branch has, in order, with their numbers."""
    region = between(addition.split, addition.branch, trunk.stream)
    region -= between(addition.split, (addition.skip,), trunk.stream)
    sizes = {name: p.numel() for name, p in module.named_parameters(remove_duplicate=False)}
    found: dict[str, int] = {}
    for node in sorted(node for node in region if node.op != "get_attr"):
        inputs = node.all_input_nodes
        # Experts are chosen, and normed weights computed, on the way to the layer.
        beside = [b for i in inputs if i not in trunk.stream for b in i.all_input_nodes]
        read = [str(i.target) for i in (*inputs, *beside) if i.op == "get_attr"]
        if read:
            path = module_path(node)
            found[path] = found.get(path, 0) + sum(sizes.get(name, 0) for name in read)
    return found


def _parameter_count(module: fx.GraphModule, item: Link, trunk: Trunk) -> int:
    weights = {
        str(node.target)
        for node in between(item.entry, (item.exit,), trunk.stream)
        if node.op == "get_attr"
    }
    sizes = {name: p.numel() for name, p in module.named_parameters(remove_duplicate=False)}
    return sum(sizes.get(name, 0) for name in weights)


def _skip_kind(item: Link, module: fx.GraphModule, trunk: Trunk) -> SkipKind:
    addition = item.addition
    if addition.skip is item.entry:
        return "identity"
    if _is_carry(addition):
        return "gate"
    region = between(addition.split, (addition.skip,), trunk.stream)
    parameters = dict(module.named_parameters(remove_duplicate=False))
    if any(
        str(node.target) in parameters and parameters[str(node.target)].ndim > 1
        for node in region
        if node.op == "get_attr"
    ):
        return "projection"
    if any(node.target in {_aten.pad.default, _aten.constant_pad_nd.default} for node in region):
        return "pad"
    return "map"


def _is_carry(addition: Addition) -> bool:
    """Whether the skip is ``(1 − t) · x`` with the ``t`` that multiplies the branch (highway units)."""
    skip, branch = addition.skip, addition.branch
    if len(branch) != 1 or skip.target is not _aten.mul.Tensor:
        return False
    if branch[0].target is not _aten.mul.Tensor:
        return False
    if addition.split not in skip.args:
        return False
    gates = [_complement(argument) for argument in skip.args]
    return any(gate is not None and gate in branch[0].args for gate in gates)


def _complement(node: Any) -> fx.Node | None:
    """``t`` where the node is ``1 − t``."""
    if not isinstance(node, fx.Node):
        return None
    if node.target is _aten.rsub.Scalar and node.args[1] == 1:
        return node.args[0] if isinstance(node.args[0], fx.Node) else None
    if node.target is _aten.sub.Tensor and node.args[0] == 1:
        return node.args[1] if isinstance(node.args[1], fx.Node) else None
    return None
