"""Networks without skips (VGG, plain-56) as a chain of layers, for the contrast with residual ones."""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx
import torch
from torch import fx, nn

from resanalysis.network import ResidualNetwork, ResidualUnit
from resanalysis.view.assemble import bridges_between, cutter_of, is_matrix, shape_of, stages
from resanalysis.view.capture import Captured
from resanalysis.view.cut import Cut, Cutter
from resanalysis.view.errors import UnravelError
from resanalysis.view.naming import module_path
from resanalysis.view.sources import sources_of
from resanalysis.view.trunk import chain_from, flow_to, weights_behind

_NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm")


def assemble_plain(captured: Captured, output: fx.Node, name: str) -> ResidualNetwork:
    """One unit per layer with weights, with the norm and activation after it; the last one is the head.

    Pooling and reshaping between layers are bridges, so that a layer that keeps its shape can go.

    Raises
    ------
    UnravelError : if fewer than two layers with weights lie on the way of every path.

    Source: Veit et al. 2016, §4.1 (deleting layers of a VGG network).
    """
    chain = _longest_chain(captured.module.graph, output)
    starts = _layer_starts(captured, chain)
    if len(starts) < 2:
        raise UnravelError(
            f"{name} has no chain of plain layers: {len(starts)} layers with weights lie on the way of "
            "every path from input to output"
        )
    # The classifier stays: without it there are no classes to be right or wrong about.
    layers = starts[:-1]
    spans = [Cut(_layer_entry(chain, start), chain[_layer_end(chain, start)]) for start in layers]
    bridges = bridges_between(spans)
    head = Cut(spans[-1].end, output, is_head=True)
    cutter = cutter_of(captured, spans, bridges, head)
    paths = [module_path(chain[start]) for start in layers]
    return ResidualNetwork(
        stem=cutter.stem(spans[0].start),
        units=_units(spans, stages(spans, bridges), paths, cutter),
        head=cutter.piece(head),
        bridges=tuple(None if cut is None else cutter.piece(cut) for cut in bridges),
        name=name,
        batch_size=captured.batch_size,
    )


def _units(
    spans: Sequence[Cut], stage: Sequence[int], paths: Sequence[str], cutter: Cutter
) -> tuple[ResidualUnit, ...]:
    units: list[ResidualUnit] = []
    for index, span in enumerate(spans):
        branch = cutter.piece(span)
        in_shape, out_shape = shape_of(span.start), shape_of(span.end)
        units.append(
            ResidualUnit(
                index=index,
                name=paths[index] or f"layer{index}",
                skip=nn.Identity(),
                branch=branch,
                skip_kind="none",
                stage=stage[index],
                transition=in_shape != out_shape,
                in_shape=in_shape,
                out_shape=out_shape,
                parameters=sum(parameter.numel() for parameter in branch.parameters()),
                group=paths[index],
            )
        )
    return tuple(units)


def _longest_chain(graph: fx.Graph, output: fx.Node) -> tuple[fx.Node, ...]:
    """The chain with the most tensors that every path passes; of two, from the first source."""
    flow = flow_to(graph, output)
    best: tuple[fx.Node, ...] = ()
    # Longest first by what is possible, so that most sources, each a kernel, need no search.
    for source in sorted(sources_of(flow), key=lambda source: source.stream, reverse=True):
        if source.stream <= len(best):
            break
        stream = nx.descendants(flow, source.node) | {source.node}
        chain = chain_from(flow.subgraph(stream), source.node, output)
        best = max(best, chain, key=len)
    return best


def _layer_starts(captured: Captured, chain: tuple[fx.Node, ...]) -> list[int]:
    """The positions on the chain of the operations that read a weight matrix."""
    parameters = dict(captured.module.named_parameters(remove_duplicate=False))
    on_chain = set(chain)

    def reads_a_matrix(node: fx.Node) -> bool:
        beside = [before for before in node.all_input_nodes if before not in on_chain]
        # Read as it is kept, or turned before (Keras' kernels).
        return any(
            is_matrix(weight, parameters) for before in beside for weight in weights_behind(before)
        )

    return [index for index, node in enumerate(chain) if index and reads_a_matrix(node)]


def _layer_entry(chain: tuple[fx.Node, ...], start: int) -> fx.Node:
    """The chain's node before a layer; there is one, as the first node starts none."""
    index = start - 1
    while index and _is_turn(chain[index]) and _same_module(chain[index], chain[start]):
        index -= 1
    return chain[index]


def _layer_end(chain: tuple[fx.Node, ...], start: int) -> int:
    end = start
    for index in range(start + 1, len(chain)):
        node = chain[index]
        pointwise = torch.Tag.pointwise in getattr(node.target, "tags", ())
        if pointwise or any(norm in str(node.target) for norm in _NORMS):
            end = index
        elif not _is_turn(node):
            break
        elif _same_module(node, chain[end]):
            end = index  # turned back; another turn is for what comes next, a norm or a pooling
    return end


def _is_turn(node: fx.Node) -> bool:
    """Whether it exchanges dimensions, as Keras does around each convolution and batch norm."""
    return node.target is torch.ops.aten.permute.default


def _same_module(one: fx.Node, other: fx.Node) -> bool:
    return bool(module_path(one)) and module_path(one) == module_path(other)
