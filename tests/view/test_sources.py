"""Which sources of a graph are searched for a chain: the trunk found is that of trying every one of them."""

from __future__ import annotations

from collections.abc import Callable

import networkx as nx
import pytest
import torch
from torch import Tensor, fx, nn

from resanalysis.view.capture import capture
from resanalysis.view.sources import sources_of
from resanalysis.view.trunk import (
    Trunk,
    _fed_by_inputs,
    _is_addition,
    _trunk_from,
    find_trunk,
    flow_to,
)


class Turned(nn.Module):
    """Kernels that are turned before they are used, as Keras' are: a source each."""

    def __init__(self, units: int = 3) -> None:
        super().__init__()
        self.kernels = nn.ParameterList(torch.randn(5, 5) for _ in range(2 * units))

    def forward(self, x: Tensor) -> Tensor:
        for first, second in zip(self.kernels[::2], self.kernels[1::2], strict=True):
            x = x + (x @ first.permute(1, 0)).relu() @ second.permute(1, 0)
        return x


class Latents(nn.Module):
    """A stream that begins in weights; the input is read by every unit of it, and has no chain itself."""

    def __init__(self) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(1, 5))
        self.layers = nn.ModuleList(nn.Linear(5, 5) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        h = self.latents.expand(len(x), -1)
        for layer in self.layers:
            h = h + layer(h * x)
        return h


class Positions(nn.Module):
    """Two sources, one behind two operations and one behind a single one, added up before the units."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(5, 1))
        self.units = Turned(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.units(x.tanh().exp() + self.table.permute(1, 0))


def graph_of(model: nn.Module) -> tuple[fx.Graph, fx.Node]:
    captured = capture(model, torch.randn(2, 5))
    return captured.module.graph, captured.leaves[0]


def found_by_trying_all(graph: fx.Graph, output: fx.Node) -> Trunk:
    flow = flow_to(graph, output)
    best: Trunk | None = None
    for node in graph.nodes:
        if node not in flow or flow.in_degree(node):
            continue
        trunk = _trunk_from(flow, node, output, _fed_by_inputs(flow))
        size = len(trunk.additions), len(trunk.stream)
        if best is None or size > (len(best.additions), len(best.stream)):
            best = trunk
    assert best is not None
    return best


@pytest.mark.parametrize(("make", "units"), [(Turned, 3), (Latents, 3), (Positions, 2)])
def test_the_trunk_is_that_of_trying_every_source(
    make: Callable[[], nn.Module], units: int
) -> None:
    graph, output = graph_of(make())
    found, expected = find_trunk(graph, output), found_by_trying_all(graph, output)
    assert len(found.additions) == units
    assert (found.nodes, found.stream) == (expected.nodes, expected.stream)
    assert [one.node for one in found.additions] == [one.node for one in expected.additions]


def test_sources_are_counted_as_a_search_from_each_counts() -> None:
    graph, output = graph_of(Positions())
    flow = flow_to(graph, output)
    additions = [node for node in flow if _is_addition(node)]
    sources = sources_of(flow, additions)
    assert len(sources) == 6  # the input, the table and four kernels
    for source in sources:
        stream = nx.descendants(flow, source.node) | {source.node}
        assert source.stream == len(stream)
        both = [node for node in additions if set(node.args[:2]) <= stream]
        assert source.additions == len(both)
    assert [source.additions for source in sources if source.node.op == "placeholder"] == [2]


def test_a_bias_is_no_addition_that_could_join_a_skip() -> None:
    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel, self.bias = nn.Parameter(torch.randn(5, 5)), nn.Parameter(torch.randn(5))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.kernel + self.bias.reshape(1, 5)

    with pytest.raises(Exception, match=r"0 additions, and there is no addition of two tensors"):
        find_trunk(*graph_of(Chain()))
