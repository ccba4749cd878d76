"""Links of the chain → a ResidualNetwork of runnable pieces."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from resanalysis.network import ResidualNetwork, ResidualUnit, SkipKind
from resanalysis.view.capture import Captured
from resanalysis.view.cut import Cut, Cutter, batch_axis, depends_on
from resanalysis.view.errors import UnravelError
from resanalysis.view.links import Link, link
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
    spans = [Cut(item.entry, item.exit) for item in links]
    bridges = bridges_between(spans)
    head, taps = _head(captured, trunk, links, outputs)
    cutter = cutter_of(captured, spans, bridges, head)
    return ResidualNetwork(
        stem=cutter.stem(spans[0].start),
        units=_units(links, stages(spans, bridges), cutter, trunk, captured.module),
        head=cutter.piece(head),
        bridges=tuple(None if cut is None else cutter.piece(cut) for cut in bridges),
        taps=taps,
        name=name,
        batch_size=captured.batch_size,
    )


def bridges_between(spans: Sequence[Cut]) -> list[Cut | None]:
    """What runs between each unit and the one before; ``None`` where they touch, and before the first."""
    return [None] + [
        None if before.end is after.start else Cut(before.end, after.start)
        for before, after in itertools.pairwise(spans)
    ]


def stages(spans: Sequence[Cut], bridges: Sequence[Cut | None]) -> list[int]:
    """The stage of each unit: a new one begins where the stream's shape changes, and behind a bridge."""
    begins = [
        shape_of(span.start) != shape_of(span.end) or bridge is not None
        for span, bridge in zip(spans, bridges, strict=True)
    ]
    # The first unit begins stage 0, transition or not.
    return list(itertools.accumulate([0, *begins[1:]]))


def cutter_of(
    captured: Captured, spans: Sequence[Cut], bridges: Sequence[Cut | None], head: Cut
) -> Cutter:
    """What makes the pieces of a chain, once it knows all of them."""
    cutter = Cutter(captured, [node for span in spans for node in (span.start, span.end)])
    cutter.choose_side_inputs([*spans, *(cut for cut in bridges if cut is not None), head])
    return cutter


def _head(
    captured: Captured, trunk: Trunk, links: Sequence[Link], outputs: tuple[fx.Node, ...]
) -> tuple[Cut, tuple[int, ...]]:
    """From the last unit to the output, or to several outputs, and where those read the stream before."""
    start, end = links[-1].exit, trunk.nodes[-1]
    if not outputs:
        return Cut(start, end, is_head=True), ()
    # Dependence by values: an output that reads the stream only through a mask reads it all the same.
    taps = _taps(outputs, links, depends_on(captured.module.graph, links[0].entry))

    def together(_graph: fx.Graph, copied: Callable[[fx.Node], fx.Node]) -> tuple[fx.Node, ...]:
        return tuple(copied(node) for node in outputs)

    at = tuple(taps.values())
    return Cut(start, end, make=together, needs=outputs, taps=at, is_head=True), tuple(taps)


def _units(
    links: Sequence[Link],
    stage: Sequence[int],
    cutter: Cutter,
    trunk: Trunk,
    module: fx.GraphModule,
) -> tuple[ResidualUnit, ...]:
    # Tied weights under each of their names: the graph may read any of them.
    parameters = dict(module.named_parameters(remove_duplicate=False))
    paths = [module_path(item.addition.node) for item in links]
    names = unit_names(paths, [_weights(item.addition, trunk, parameters) for item in links])
    return tuple(
        ResidualUnit(
            index=index,
            name=names[index],
            **{part: cutter.piece(cut) for part, cut in _unit_cuts(item).items()},
            skip_kind=_skip_kind(item, parameters, trunk),
            stage=stage[index],
            transition=shape_of(item.entry) != shape_of(item.exit),
            in_shape=shape_of(item.entry),
            out_shape=shape_of(item.exit),
            parameters=_parameter_count(item, parameters, trunk),
            group=layer_path(paths[index]) or names[index],
        )
        for index, item in enumerate(links)
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
    # A tensor made inside a unit is no place to stop at: a lesion could not say what it is then.
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
            # What leaves the last unit is the head's own stream, and no tap.
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
    # They overlap: a route runs `full` alone, or `whole` and the join, or skip and branch by themselves.
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
    lengths = [
        length if isinstance(length, int) else int(length.node.hint) for length in value.shape
    ]
    del lengths[batch_axis(node)]
    return tuple(lengths)


def _weights(addition: Addition, trunk: Trunk, parameters: Mapping[str, Tensor]) -> dict[str, int]:
    """Module paths of the layers with weights that only the branch has, in order, with their numbers."""
    region = between(addition.split, addition.branch, trunk.stream)
    # What skip and branch share (the pre-activation of a transition) names neither.
    region -= between(addition.split, (addition.skip,), trunk.stream)
    found: dict[str, int] = {}
    for node in sorted(node for node in region if node.op != "get_attr"):
        read = _weights_read(node, trunk)
        if read:
            path = module_path(node)
            numbers = (parameters[name].numel() for name in read if name in parameters)
            found[path] = found.get(path, 0) + sum(numbers)
    return found


def _weights_read(node: fx.Node, trunk: Trunk) -> list[str]:
    """Names of the weights an operation reads, itself or one step before.

    Experts are chosen, and normed weights computed, on the way to the layer.
    """
    inputs = node.all_input_nodes
    beside = [b for i in inputs if i not in trunk.stream for b in i.all_input_nodes]
    return [str(i.target) for i in (*inputs, *beside) if i.op == "get_attr"]


def _parameter_count(item: Link, parameters: Mapping[str, Tensor], trunk: Trunk) -> int:
    region = between(item.entry, (item.exit,), trunk.stream)
    # By name, so that a weight that is read twice counts once.
    read = {str(node.target) for node in region if node.op == "get_attr"}
    return sum(parameters[name].numel() for name in read if name in parameters)


def _skip_kind(item: Link, parameters: Mapping[str, Tensor], trunk: Trunk) -> SkipKind:
    addition = item.addition
    if addition.skip is item.entry:
        return "identity"
    # First: the weights of its gate would make it a projection.
    if _is_carry(addition):
        return "gate"
    region = between(addition.split, (addition.skip,), trunk.stream)
    if any(is_matrix(node, parameters) for node in region):
        return "projection"
    if any(node.target in {_aten.pad.default, _aten.constant_pad_nd.default} for node in region):
        return "pad"
    return "map"


def is_matrix(node: fx.Node, parameters: Mapping[str, Tensor]) -> bool:
    """Whether the node is a weight of a layer, not a scale or a bias."""
    if node.op != "get_attr" or str(node.target) not in parameters:
        return False
    return parameters[str(node.target)].ndim > 1


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
