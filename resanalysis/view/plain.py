"""Networks without skips (VGG, plain-56) as a chain of layers, for the contrast with residual ones."""

from __future__ import annotations

import itertools

import networkx as nx
import torch
from torch import fx, nn

from resanalysis.network import ResidualNetwork, ResidualUnit
from resanalysis.view.assemble import shape_of
from resanalysis.view.capture import Captured
from resanalysis.view.cut import Cut, Cutter
from resanalysis.view.errors import UnravelError
from resanalysis.view.naming import module_path
from resanalysis.view.trunk import Trunk, float_graph, trunk_from

_NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm")


def assemble_plain(captured: Captured, name: str) -> ResidualNetwork:
    """One unit per layer with weights, with the norm and activation after it; the last one is the head.

    Pooling and reshaping between layers are bridges, so that a layer that keeps its shape can go.

    Raises
    ------
    UnravelError : if fewer than two layers with weights lie on the way of every path.

    Source: Veit et al. 2016, §4.1 (deleting layers of a VGG network).
    """
    trunk = _longest_trunk(captured)
    starts = [i for i, node in enumerate(trunk.nodes) if i and _has_matrix(captured.module, node)]
    if len(starts) < 2:
        raise UnravelError(
            f"{name} has no chain of plain layers: {len(starts)} layers with weights lie on the way of "
            "every path from input to output"
        )
    spans = [(start, _layer_end(trunk, start)) for start in starts[:-1]]
    cuts = [Cut(trunk.nodes[start - 1], trunk.nodes[end]) for start, end in spans]
    bridges = [None] + [
        None if before.end is after.start else Cut(before.end, after.start)
        for before, after in itertools.pairwise(cuts)
    ]
    head = Cut(cuts[-1].end, captured.output)
    cutter = Cutter(captured, [node for cut in cuts for node in (cut.start, cut.end)])
    cutter.choose_side_inputs([*cuts, *(b for b in bridges if b is not None), head])
    units: list[ResidualUnit] = []
    stage = 0
    for index, (cut, (start, _)) in enumerate(zip(cuts, spans, strict=True)):
        in_shape, out_shape = shape_of(cut.start), shape_of(cut.end)
        if index and (in_shape != out_shape or bridges[index] is not None):
            stage += 1
        branch = cutter.piece(cut)
        units.append(
            ResidualUnit(
                index=index,
                name=module_path(trunk.nodes[start]) or f"layer{index}",
                skip=nn.Identity(),
                branch=branch,
                skip_kind="none",
                stage=stage,
                transition=in_shape != out_shape,
                in_shape=in_shape,
                out_shape=out_shape,
                parameters=sum(parameter.numel() for parameter in branch.parameters()),
                group=module_path(trunk.nodes[start]),
            )
        )
    return ResidualNetwork(
        stem=cutter.stem(cuts[0].start),
        units=tuple(units),
        head=cutter.piece(head),
        bridges=tuple(None if bridge is None else cutter.piece(bridge) for bridge in bridges),
        name=name,
        batch_size=captured.batch_size,
    )


def _longest_trunk(captured: Captured) -> Trunk:
    flow = float_graph(captured.module.graph)
    flow = flow.subgraph(nx.ancestors(flow, captured.output) | {captured.output})
    sources = [node for node in flow if flow.in_degree(node) == 0]
    if not sources:
        raise UnravelError("the model's output does not depend on a float tensor")
    trunks = [trunk_from(flow, source, captured.output) for source in sources]
    return max(trunks, key=lambda trunk: len(trunk.nodes))


def _has_matrix(module: fx.GraphModule, node: fx.Node) -> bool:
    parameters = dict(module.named_parameters(remove_duplicate=False))
    return any(
        before.op == "get_attr"
        and str(before.target) in parameters
        and parameters[str(before.target)].ndim > 1
        for before in node.all_input_nodes
    )


def _layer_end(trunk: Trunk, start: int) -> int:
    end = start
    while end + 1 < len(trunk.nodes):
        target = trunk.nodes[end + 1].target
        pointwise = torch.Tag.pointwise in getattr(target, "tags", ())
        if not pointwise and not any(norm in str(target) for norm in _NORMS):
            break
        end += 1
    return end
