"""Cut a captured graph into pieces: small graphs of the stream that share the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, fx, nn

from resanalysis.errors import ResanalysisError
from resanalysis.network import Piece, Side
from resanalysis.view.capture import Captured
from resanalysis.view.errors import UnravelError
from resanalysis.view.versions import keyword_names


class Stem(nn.Module):
    """From the model's own arguments to the stream and the side inputs."""

    def __init__(self, body: fx.GraphModule, in_spec: Any) -> None:
        super().__init__()
        self.body = body
        self._in_spec = in_spec

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Side]:
        names = keyword_names(self._in_spec)
        missing = [name for name in names if name not in kwargs]
        extra = [name for name in kwargs if name not in names]
        if missing or extra:
            raise ResanalysisError(
                f"the network was captured with the inputs {list(names)}: "
                f"missing {missing}, not known {extra}"
            )
        # In the order of the capture: a dict may come in any.
        ordered = {name: kwargs[name] for name in names}
        leaves = pytree.tree_leaves((args, ordered))
        if len(leaves) != self._in_spec.num_leaves:
            raise ResanalysisError(
                f"the network was captured with {self._in_spec.num_leaves} inputs, got {len(leaves)}"
            )
        h, *side = self.body(*leaves)
        return h, tuple(side)


@dataclass(frozen=True, eq=False)
class Cut:
    """One piece to be made: from the tensor ``start`` to the tensor ``end``."""

    start: fx.Node
    end: fx.Node
    make: Callable[[fx.Graph, Callable[[fx.Node], fx.Node]], Any] | None = None
    """Builds the result from other nodes where it is no node of the graph itself."""
    needs: tuple[fx.Node, ...] = ()
    taps: tuple[fx.Node, ...] = ()
    """Earlier tensors of the stream that it reads too; they follow the side inputs."""
    is_head: bool = False
    """Whether it ends in what the model returns, and not in the stream."""


class Cutter:
    """Makes pieces of one captured graph.

    Nodes beside the stream (masks, position tables, biases) are recomputed inside a piece where only
    weights decide them and one piece alone needs them; otherwise the stem makes them once as a side
    input.
    """

    def __init__(self, captured: Captured, boundaries: Sequence[fx.Node]) -> None:
        """Cut between ``boundaries``: where the chain begins, and where each unit begins and ends."""
        self._captured = captured
        # Wider than the trunk's stream of floats: a mask that is computed from the stream's values changes with
        # every lesion, and may not be made once by the stem.
        self._stream = depends_on(captured.module.graph, boundaries[0])
        self._boundaries = frozenset(boundaries)
        self._from_input = self._reached_from_inputs()
        self._side: list[fx.Node] = []

    def _reached_from_inputs(self) -> set[fx.Node]:
        reached: set[fx.Node] = set(self._captured.inputs)
        for node in self._captured.module.graph.nodes:
            if _is_tensor(node) and any(
                before in reached and _is_tensor(before) for before in node.all_input_nodes
            ):
                reached.add(node)
        return reached

    def choose_side_inputs(self, cuts: Iterable[Cut]) -> None:
        """Decide which nodes beside the stream the stem must provide; call once, with all cuts."""
        wanted: dict[fx.Node, int] = {}
        for cut in cuts:
            for node in self._frontier(cut):
                wanted[node] = wanted.get(node, 0) + 1
        # One reader and weights alone: the piece computes it, and nothing is carried along. What an input
        # decides must come from the stem, for a piece has no input but the stream. In the graph's order, so
        # that positions are the same in every process.
        self._side = [
            node
            for node in self._captured.module.graph.nodes
            if node in wanted and (wanted[node] > 1 or node in self._from_input)
        ]

    def _frontier(self, cut: Cut) -> set[fx.Node]:
        """Tensors beside the stream that the piece's own nodes read."""
        found: set[fx.Node] = set()
        seen: set[fx.Node] = {cut.start, *cut.taps}
        todo = list(cut.needs or (cut.end,))
        while todo:
            node = todo.pop()
            if node in seen or node.op == "get_attr":
                continue
            seen.add(node)
            # Past a boundary lies another unit. A piece that read on there would run that unit too, lesioned or
            # not.
            if node in self._boundaries and node is not cut.end:
                raise UnravelError(
                    f"what leads to {cut.end.name} reads the stream as it was before an earlier unit "
                    f"({node.name}), by a mask or an index: the chain cannot be cut there"
                )
            if node in self._stream:
                todo.extend(node.all_input_nodes)
            elif _is_tensor(node):
                found.add(node)
        return found

    def piece(self, cut: Cut) -> nn.Module:
        """The part of the graph from ``cut.start`` to ``cut.end``; an identity where they are one."""
        if cut.start is cut.end and cut.make is None:
            return nn.Identity()
        builder = _Builder(self._captured.module, [*self._side, *cut.taps])
        return builder.piece(cut)

    def stem(self, start: fx.Node) -> Stem:
        """Everything up to ``start``, and the side inputs."""
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        wanted = _ancestors([start, *self._side])
        for node in self._captured.module.graph.nodes:
            # All of them, also those that nothing reads: the stem is called as the model is.
            if node.op == "placeholder":
                copies[node] = graph.placeholder(node.name)
                copies[node].meta = dict(node.meta)
            elif node in wanted and node.op != "output":
                copies[node] = graph.node_copy(node, lambda argument: copies[argument])
        stream = _moved(graph, copies[start], start)
        graph.output((stream, *(copies[node] for node in self._side)))
        return Stem(_graph_module(self._captured.module, graph), self._captured.in_spec)


class _Builder:
    def __init__(self, root: fx.GraphModule, side: Sequence[fx.Node]) -> None:
        self._root = root
        self._side = list(side)

    def piece(self, cut: Cut) -> nn.Module:
        ends = cut.needs or (cut.end,)
        wanted, reads = self._region(cut.start, ends)
        graph = fx.Graph()
        start = graph.placeholder("h")
        start.meta = dict(cut.start.meta)
        sides = {self._side[index]: graph.placeholder(f"side_{index}") for index in reads}
        copies = {cut.start: _moved(graph, start, cut.start, back=True)}
        for node, side in sides.items():
            copies[node] = _moved(graph, side, node, back=True) if node in cut.taps else side
        entered = dict(copies)
        for node in sorted(wanted - copies.keys()):  # in the order of the graph
            rebound = self._rebound_size(graph, node, entered)
            copies[node] = (
                graph.node_copy(node, lambda argument: copies[argument])
                if rebound is None
                else rebound
            )
        result = cut.make(graph, lambda node: copies[node]) if cut.make else copies[cut.end]
        graph.output(result if cut.is_head else _moved(graph, result, cut.end))
        return Piece(_graph_module(self._root, graph), reads)

    def _region(
        self, start: fx.Node, ends: Sequence[fx.Node]
    ) -> tuple[set[fx.Node], tuple[int, ...]]:
        """What a piece computes, and the positions of the side inputs it reads."""
        side = {node: index for index, node in enumerate(self._side)}
        wanted: set[fx.Node] = set()
        reads: set[int] = set()
        todo = list(ends)
        while todo:
            node = todo.pop()
            if node is start or node in wanted:
                continue
            if node in side:
                reads.add(side[node])
            # Read off the piece's own stream, so what it was computed from is not searched.
            elif _is_size(node) and _size_of(start, node) is not None:
                wanted.add(node)
            elif node.op == "placeholder":
                raise UnravelError(
                    f"a unit reads the model's input {node.name} beside the stream in a way that "
                    "cannot be cut apart"
                )
            else:
                wanted.add(node)
                todo.extend(node.all_input_nodes)
        return wanted, tuple(sorted(reads))

    def _rebound_size(
        self, graph: fx.Graph, node: fx.Node, entered: dict[fx.Node, fx.Node]
    ) -> fx.Node | None:
        """A size is read off the piece's own stream, so that a piece runs on any batch."""
        if not _is_size(node):
            return None
        for original, copied in entered.items():
            dimension = _size_of(original, node)
            if dimension is not None:
                return graph.call_function(torch.ops.aten.sym_size.int, (copied, dimension))
        return None


def batch_axis(node: fx.Node) -> int:
    """Which dimension of a tensor of the stream counts the examples: 0, but where a model has tokens first."""
    value = node.meta["val"]
    free = [axis for axis, length in enumerate(value.shape) if isinstance(length, torch.SymInt)]
    return free[0] if free else 0


def _moved(graph: fx.Graph, copied: fx.Node, like: fx.Node, *, back: bool = False) -> fx.Node:
    """A tensor of the stream with its examples first, as pieces hand it on; or ``back`` as the model has it.

    What measures streams takes row i for example i.
    """
    axis = batch_axis(like)
    if axis == 0:
        return copied
    value = like.meta["val"]
    order = [axis, *(other for other in range(value.ndim) if other != axis)]
    if back:
        order = [order.index(place) for place in range(value.ndim)]
    else:
        value = value.permute(order)
    made = graph.call_function(torch.ops.aten.permute.default, (copied, order))
    made.meta = {"val": value}
    return made


def depends_on(graph: fx.Graph, start: fx.Node) -> frozenset[fx.Node]:
    """``start`` and every tensor made from its values, masks and indices too; not from its sizes alone."""
    reached = {start}
    for node in graph.nodes:
        if _is_tensor(node) and any(before in reached for before in node.all_input_nodes):
            reached.add(node)
    return frozenset(reached)


def _is_tensor(node: fx.Node) -> bool:
    value = node.meta.get("val")
    values: Any = value if isinstance(value, list | tuple) else (value,)
    return node.op != "get_attr" and any(isinstance(item, Tensor) for item in values)


def _is_size(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), torch.SymInt)


def _size_of(tensor: fx.Node, size: fx.Node) -> int | None:
    """The dimension of ``tensor`` that has the symbolic size ``size``, if there is one."""
    value, wanted = tensor.meta.get("val"), size.meta["val"]
    if not isinstance(value, Tensor):
        return None
    for dimension, length in enumerate(value.shape):
        if isinstance(length, torch.SymInt) and length.node.expr == wanted.node.expr:
            return dimension
    return None


def _ancestors(ends: Iterable[fx.Node]) -> set[fx.Node]:
    seen: set[fx.Node] = set()
    todo = list(ends)
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo.extend(node.all_input_nodes)
    return seen


def _graph_module(root: fx.GraphModule, graph: fx.Graph) -> fx.GraphModule:
    """A module of the graph that shares the root's weights, with names torch.fx accepts."""
    tensors: dict[str, Any] = {}
    for node in graph.nodes:
        if node.op == "get_attr":
            owner, _, attribute = str(node.target).rpartition(".")
            value = getattr(root.get_submodule(owner), attribute)
            name = str(node.target).replace(".", "_")
            # `a.b_c` and `a_b.c` would be one name.
            while name in tensors and tensors[name] is not value:
                name += "_"
            tensors[name] = value
            node.target = name
    graph.lint()
    # The same tensors, not copies: parts overlap (`branch`, `whole` and `full`), and the model is in memory
    # once.
    return fx.GraphModule(_holder(tensors), graph)


def _holder(tensors: dict[str, Any]) -> nn.Module:
    holder = nn.Module()
    for name, value in tensors.items():
        if isinstance(value, nn.Parameter):
            holder.register_parameter(name, value)
        elif isinstance(value, Tensor):
            holder.register_buffer(name, value)
        else:
            setattr(holder, name, value)
    return holder
