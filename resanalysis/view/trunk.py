"""The captured graph → its trunk: the tensors every path from input to output passes, and the units on it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import networkx as nx
import torch
from torch import Tensor, fx

from resanalysis.view.errors import UnravelError
from resanalysis.view.sources import Source, sources_of


@dataclass(frozen=True, eq=False)
class Addition:
    """A residual addition on the trunk.

    Attributes
    ----------
    node : the addition.
    split : its immediate dominator, where the stream parts into skip and branch.
    skip : the operand that is the skip; ``split`` itself for an identity.
    branch : the other operands, in order.
    """

    node: fx.Node
    split: fx.Node
    skip: fx.Node
    branch: tuple[fx.Node, ...]


@dataclass(frozen=True, eq=False)
class Trunk:
    """The outermost chain: the nodes that dominate the output, and the residual additions among them."""

    nodes: tuple[fx.Node, ...]
    additions: tuple[Addition, ...]
    stream: frozenset[fx.Node]


def is_float(node: fx.Node) -> bool:
    """Whether the node's value is, or holds, a float tensor; weights and sizes are not the stream."""
    if node.op == "get_attr":
        return False
    value = node.meta.get("val")
    values: Any = value if isinstance(value, list | tuple) else (value,)
    return any(isinstance(item, Tensor) and item.is_floating_point() for item in values)


def float_graph(graph: fx.Graph) -> nx.DiGraph[fx.Node]:
    """Edges between operations that pass float tensors to each other."""
    # A reshape that reads `x.shape[0]` has an edge from `x` in the captured graph. It would be a way round
    # every unit in between, and no unit's entry would dominate its addition.
    flow: nx.DiGraph[fx.Node] = nx.DiGraph()
    for node in graph.nodes:
        if is_float(node):
            flow.add_node(node)
            flow.add_edges_from(
                (before, node) for before in node.all_input_nodes if is_float(before)
            )
    return flow


def find_trunk(graph: fx.Graph, output: fx.Node) -> Trunk:
    """The trunk with the most residual units.

    A graph can have several float sources: the image or embedding that becomes the stream, and beside
    it position tables and masks. The dominator tree is taken from each in turn, over what lies between
    it and the output, and the one whose chain has the most units is the stream.

    Raises
    ------
    UnravelError : if none has a residual addition; says what the graph holds instead.
    """
    flow = flow_to(graph, output)
    fed = _fed_by_inputs(flow)
    sources = sources_of(flow, filter(_is_addition, flow))
    best: tuple[tuple[int, int, int], Trunk] | None = None
    # Longest first by what is possible, so that most need no search: a chain from a later layer's weights has
    # fewer units than one that was found.
    for place, source in sorted(
        enumerate(sources), key=lambda item: _possible(*item), reverse=True
    ):
        if best is not None and _possible(place, source) < best[0]:
            break
        trunk = _trunk_from(flow, source.node, output, fed)
        # Behind the sum of two sources both have the same chain: then the one with more operations before that
        # sum, the stream and not a table that is added to it; then the first.
        rank = (len(trunk.additions), len(trunk.stream), -place)
        if best is None or rank > best[0]:
            best = rank, trunk
    if best is None or not best[1].additions:
        raise UnravelError(_nothing_found(flow, max(source.additions for source in sources)))
    return best[1]


def _possible(place: int, source: Source) -> tuple[int, int, int]:
    """No trunk from this source ranks higher."""
    return source.additions, source.stream, -place


def flow_to(graph: fx.Graph, output: fx.Node) -> nx.DiGraph[fx.Node]:
    """The part of ``float_graph`` that leads to ``output``.

    What leads to other outputs alone has chains of its own, and would be counted into this one's.

    Raises
    ------
    UnravelError : if none does.
    """
    flow = float_graph(graph)
    if output not in flow:
        raise UnravelError("the model's output does not depend on a float tensor")
    # A copy: a view of a graph looks every node up again whenever it is read.
    return flow.subgraph(nx.ancestors(flow, output) | {output}).copy()


def _trunk_from(
    flow: nx.DiGraph[fx.Node], source: fx.Node, output: fx.Node, fed: set[fx.Node]
) -> Trunk:
    """The nodes that dominate ``output`` as seen from ``source``, and the additions among them."""
    stream = nx.descendants(flow, source) | {source}
    beside = fed - stream
    nodes = chain_from(flow.subgraph(stream), source, output)
    found = (
        _residual_addition(node, split, stream, beside) for split, node in itertools.pairwise(nodes)
    )
    return Trunk(nodes, tuple(a for a in found if a is not None), frozenset(stream))


def chain_from(
    stream: nx.DiGraph[fx.Node], source: fx.Node, output: fx.Node
) -> tuple[fx.Node, ...]:
    """What every path from ``source`` to ``output`` passes, in order."""
    # Cooper, Harvey and Kennedy's algorithm: two passes over a graph without circles, whatever the number of
    # paths.
    dominator = nx.immediate_dominators(stream, source)
    # Each tensor has one immediate dominator, so those of the output are a chain: every path passes all of
    # them, in this order. What lies between two neighbours is a unit, or a layer.
    nodes = [output]
    while nodes[-1] is not source:
        nodes.append(dominator[nodes[-1]])
    return tuple(reversed(nodes))


def _is_addition(node: fx.Node) -> bool:
    return node.target is torch.ops.aten.add.Tensor


def _terms(node: fx.Node, stream: set[fx.Node]) -> list[fx.Node] | None:
    """The summands, those of nested additions too, or ``None`` where one is no tensor of the stream.

    An inner sum that something else reads is a tensor of its own, and so is one that is scaled here or
    there: ``add(a, b + c, alpha=0.3)`` has the summands ``a`` and ``b + c``.
    """
    terms: list[fx.Node] = []
    for operand in node.args[:2]:
        if not isinstance(operand, fx.Node) or operand not in stream:
            return None
        # x + attention + MLP is captured as two additions, of which the inner one is on no chain: the unit is
        # their sum.
        opened = _is_addition(operand) and len(operand.users) == 1
        inner = opened and not _is_scaled(operand) and not _is_scaled(node)
        # A sum with a term from beside the stream is one term: what it adds there belongs to it.
        terms.extend((_terms(operand, stream) if inner else None) or [operand])
    return terms


def _fed_by_inputs(flow: nx.DiGraph[fx.Node]) -> set[fx.Node]:
    """What is made from the model's float inputs, and not from weights alone."""
    fed = {node for node in flow if node.op == "placeholder"}
    for node in nx.topological_sort(flow):
        if any(before in fed for before in flow.predecessors(node)):
            fed.add(node)
    return fed


def _residual_addition(
    node: fx.Node, split: fx.Node, stream: set[fx.Node], beside: set[fx.Node]
) -> Addition | None:
    """``node`` as skip plus branch, or ``None`` where it is no residual addition.

    Both operands are made from ``split``: it is the immediate dominator, the last tensor that every path to
    the addition passes. Which of them is the skip is decided by the first rule that fits:

    1. ``split`` itself is a summand: an identity skip, and all other summands are the branch.
    2. One operand reaches ``split`` by additions alone: it carries the stream, with earlier branches added.
    3. One computes less than the other (a projection against layers): the lighter one.

    An addition whose branch has no weights is none (the mean of two poolings).

    Parameters
    ----------
    node, split : two neighbours on the trunk.
    stream : what depends on the source of the trunk.
    beside : what is made from the model's inputs, but not from that source.
    """
    terms = _terms(node, stream) if _is_addition(node) else None
    # x + x has two equal operands and doubles the stream.
    if terms is None or node.args[0] is node.args[1]:
        return None
    if split in terms:
        addition = _with_identity_skip(node, split, terms)
    else:
        addition = _with_computed_skip(node, split, stream, beside)
    if addition is None or not _has_weights(addition, beside):
        return None
    return addition


def _with_identity_skip(node: fx.Node, split: fx.Node, terms: list[fx.Node]) -> Addition | None:
    rest = tuple(term for term in terms if term is not split)
    # x + f(x) + x: to leave out f would leave 2x, which no skip is.
    twice = len(rest) != len(terms) - 1
    # ``add(f(x), x, alpha=a)`` scales what would be the skip.
    if twice or (_is_scaled(node) and node.args[1] is split):
        return None
    return Addition(node, split, split, rest)


def _with_computed_skip(
    node: fx.Node, split: fx.Node, stream: set[fx.Node], beside: set[fx.Node]
) -> Addition | None:
    operands = [operand for operand in node.args[:2] if isinstance(operand, fx.Node)]
    carrying = [operand for operand in operands if _carries(operand, split)]
    # Both do where two sums with the stream meet, and neither where it is projected: then what is computed
    # decides.
    if len(carrying) == 1:
        skip = carrying[0]
    else:
        lighter = _lighter(operands, split, stream, beside)
        if lighter is None:
            return None
        skip = lighter
    branch = operands[1] if skip is operands[0] else operands[0]
    if _is_scaled(node) and skip is operands[1]:
        return None
    return Addition(node, split, skip, (branch,))


def _lighter(
    operands: list[fx.Node], split: fx.Node, stream: set[fx.Node], beside: set[fx.Node]
) -> fx.Node | None:
    """The operand that computes less, unless both compute the same, or the lighter one more than it seems."""
    first, second = (_weight(operand, split, stream) for operand in operands)
    if first == second:
        return None  # two equal paths: neither is the way round the other
    skip = operands[0] if first < second else operands[1]
    # The weight of the skip was counted from the split alone. Where it also reads another input, what is
    # computed there was not.
    for inner in between(split, (skip,), stream):
        if any(before in beside for before in inner.all_input_nodes):
            return None  # a frozen batch norm seen from its scale: x enters it from beside
    return skip


def _is_scaled(addition: fx.Node) -> bool:
    """Whether ``add(a, b, alpha=…)`` multiplies its second operand."""
    return bool(addition.kwargs.get("alpha", 1) != 1)


def _carries(operand: fx.Node, split: fx.Node) -> bool:
    """Whether ``operand`` is ``split`` with other tensors added to it."""
    seen: set[fx.Node] = set()
    todo = [operand]
    while todo:
        node = todo.pop()
        if node is split:
            return True
        if node not in seen and _is_addition(node) and not _is_scaled(node):
            seen.add(node)
            todo.extend(node.all_input_nodes)
    return False


def _has_weights(addition: Addition, beside: set[fx.Node]) -> bool:
    """Whether the branch has layers, also where its weights are chosen or computed (experts, weight norm)."""
    # The search ends at the split: weights of layers before it are no part of the branch.
    seen: set[fx.Node] = {addition.split, *beside}
    todo = list(addition.branch)
    while todo:
        node = todo.pop()
        if node.op == "get_attr":
            return True
        if node not in seen:
            seen.add(node)
            todo.extend(node.all_input_nodes)
    return False


def between(
    split: fx.Node, ends: tuple[fx.Node, ...], stream: frozenset[fx.Node] | set[fx.Node]
) -> set[fx.Node]:
    """The stream's nodes from ``split`` (left out) to ``ends``, and the weights they read.

    Weights may be read in another shape than they are kept in (Keras' kernels), or computed from others.
    """
    seen: set[fx.Node] = set()
    todo = list(ends)
    while todo:
        node = todo.pop()
        if node is split or node in seen:
            continue
        if node in stream:
            seen.add(node)
            todo.extend(node.all_input_nodes)
        else:
            seen |= weights_behind(node)
    return seen


def weights_behind(node: fx.Node) -> set[fx.Node]:
    """The weights that alone decide a node's value; none where an input has a say in it, as in a mask."""
    found: set[fx.Node] = set()
    todo, done = [node], {node}
    while todo:
        current = todo.pop()
        if current.op == "placeholder":
            return set()
        if current.op == "get_attr":
            found.add(current)
        new = [before for before in current.all_input_nodes if before not in done]
        done.update(new)
        todo.extend(new)
    return found


def _weight(operand: fx.Node, split: fx.Node, stream: set[fx.Node]) -> tuple[int, int, int]:
    """How much an operand computes from the split: weights, then activations, then operations.

    The lighter of two operands is the skip. What both share (a transform gate) counts for neither
    side more than the other, so it does not change the order.
    """
    region = between(split, (operand,), stream)
    tensors = sum(node.op == "get_attr" for node in region)
    operations = [node for node in region if node.op != "get_attr"]
    pointwise = sum(torch.Tag.pointwise in getattr(node.target, "tags", ()) for node in operations)
    # Weights first: a shortcut has one projection, or none, and the branch beside it two layers or more. The
    # gate of a highway unit counts on both sides.
    return tensors, pointwise, len(operations)


def _nothing_found(flow: nx.DiGraph[fx.Node], additions: int) -> str:
    """Why there is no chain, and what to try; ``additions`` are those that could join a skip."""
    joined = sum(str(node.target).startswith("aten.cat.") for node in flow)
    operations = sum(node.op != "placeholder" for node in flow)
    what = f"{operations} tensor operations, {additions} additions"
    if joined:
        what += f", {joined} concatenations"
    why = (
        "there is no addition of two tensors that are made from its input"
        if not additions
        else "none of them joins two paths that part at one tensor every path to the output passes"
    )
    return (
        f"no chain of residual units was found: the graph has {what}, and {why}. If a part of the model "
        "is residual, name it with --submodule PATH; a network without skips is read with --plain "
        "(plain=True in Python)"
    )
