"""Where a stream can begin: the float sources of a graph, and how long a chain from each can be at most."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import networkx as nx
from torch import fx


@dataclass(frozen=True, eq=False)
class Source:
    """A node that no other gives a float tensor to.

    Attributes
    ----------
    node : the input, or what is read off the weights: an embedding, a position table, a turned kernel.
    additions : of two tensors that both depend on it; no chain from here has more residual additions.
    stream : tensors that depend on it, itself among them; no chain from here is longer.
    """

    node: fx.Node
    additions: int
    stream: int


def sources_of(flow: nx.DiGraph[fx.Node], additions: Iterable[fx.Node] = ()) -> list[Source]:
    """The sources in the order of the graph, counted in one pass over it.

    A layer whose kernel is turned before it is used (each of Keras') adds a source, so that looking for a chain
    behind every one of them would take the square of the depth.
    """
    order = list(nx.topological_sort(flow))
    nodes = sorted(node for node in order if flow.in_degree(node) == 0)
    own = {node: 1 << place for place, node in enumerate(nodes)}
    # Bit i of a node's number says whether it depends on source i.
    reached: dict[fx.Node, int] = {}
    for node in order:
        reached[node] = own.get(node, 0)
        for before in flow.predecessors(node):
            reached[node] |= reached[before]
    joined = [_of_both(node, reached) for node in additions]

    def count(numbers: Iterable[int], place: int) -> int:
        return sum(number >> place & 1 for number in numbers)

    return [
        Source(node, count(joined, place), count(reached.values(), place))
        for place, node in enumerate(nodes)
    ]


def _of_both(addition: fx.Node, reached: dict[fx.Node, int]) -> int:
    """The sources that both operands of an addition depend on."""
    first, second = addition.args[:2]
    if not isinstance(first, fx.Node) or not isinstance(second, fx.Node):
        return 0
    return reached.get(first, 0) & reached.get(second, 0)
