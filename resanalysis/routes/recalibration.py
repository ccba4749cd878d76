"""Batch-norm statistics estimated anew, for every place of every route, on examples that are not measured.

What a norm sees at a place depends on the steps before it and on the examples, and on nothing behind it. So
the routes' tree is walked once over the calibration examples, where each norm takes the statistics of its
batch and notes them, and then over the measured ones, where each takes what was noted at that place: prefixes
are shared both times. The walk is the same, so the notes need no names: they are read in the order they were
written in.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from resanalysis.errors import ResanalysisError
from resanalysis.network import ResidualNetwork
from resanalysis.routes.arithmetic import check_not_bf16
from resanalysis.routes.batches import Batch, Batches, Block, BlockStore, EvaluationData
from resanalysis.routes.forward_only import BATCH_NORMS, values_of_norm
from resanalysis.routes.shared_store import prefixed

# As many at a time as the papers train with: each batch is normalised by its own statistics, as in training.
MOST_TOGETHER = 128
STEM, INTACT = "stem", "intact"
"""Stretches of every walk: up to the first unit, and the intact network from there on."""

Moments = tuple[Tensor, Tensor]
"""Mean and unbiased variance of each channel."""

Statistics = Callable[[str], AbstractContextManager[None]]
"""From a stretch of the walk to the context in which norms take its statistics."""


def as_trained(_: str) -> AbstractContextManager[None]:
    """Every norm takes its own."""
    return nullcontext()


@dataclass(eq=False)
class Ledger:
    """Statistics in the order in which the norms of a network run.

    Attributes
    ----------
    moments : noted, or to be taken.
    noting : whether norms take those of their batch and note them.
    """

    moments: list[Moments] = field(default_factory=list[Moments])
    noting: bool = False
    _next: int = 0

    def normalised(
        self, x: Tensor, weight: Tensor | None, bias: Tensor | None, epsilon: float
    ) -> Tensor:
        """What a batch norm with this scale and shift makes of ``x`` (N, C, …)."""
        if self.noting:
            # A momentum of 1 leaves the batch's own statistics in the buffers, the variance unbiased.
            mean, variance = x.new_zeros(x.shape[1]), x.new_ones(x.shape[1])
            made = F.batch_norm(x, mean, variance, weight, bias, True, 1.0, epsilon)
            self.moments.append((mean, variance))
            return made
        mean, variance = self.moments[self._next]
        self._next += 1
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, epsilon)

    @contextmanager
    def noted(self) -> Generator[list[Moments], None, None]:
        """Norms inside take their batch's statistics, which are noted in the list."""
        self.moments, self.noting = [], True
        try:
            yield self.moments
        finally:
            self.moments, self.noting = [], False

    @contextmanager
    def taken(self, moments: list[Moments]) -> Generator[None, None, None]:
        """Norms inside take these statistics, one after the other."""
        self.moments, self._next = moments, 0
        try:
            yield
            # Their order is all that says whose statistics these are.
            assert self._next == len(moments), "the walk over the measured examples was another one"
        finally:
            self.moments = []


class _Norm(nn.Module):
    """A batch norm whose statistics are those of the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger

    def forward(
        self, x: Tensor, weight: Tensor | None, bias: Tensor | None, epsilon: float
    ) -> Tensor:
        return self.ledger.normalised(x, weight, bias, epsilon)


def opened(network: ResidualNetwork) -> tuple[ResidualNetwork, Ledger]:
    """A copy whose batch norms take their statistics from a ledger; it shares the network's weights.

    What is around a part of a larger model is not captured, and keeps its own.
    """
    parts = network.parts()
    tensors = [t for part in parts.values() for t in (*part.parameters(), *part.buffers())]
    # Said to be copied already, so that only the modules around the weights are.
    parts = copy.deepcopy(parts, {id(tensor): tensor for tensor in tensors})
    ledger = Ledger()
    # Parts may share a module; a graph that is opened twice would have its norms noted twice.
    graphs = {id(graph): graph for graph in _graphs(parts)}
    for graph in graphs.values():
        _open(graph, _Norm(ledger))
    return network.with_parts(parts), ledger


def check_recalibrates(network: ResidualNetwork, examples: int) -> None:
    """Raise a ``ResanalysisError`` if statistics cannot be estimated: before anything longer is begun."""
    _batch_size(network, examples)
    check_not_bf16(network.arithmetic, "batch-norm statistics are estimated")
    if not any(_norms(graph) for graph in _graphs(network.parts())):
        raise ResanalysisError(
            f"{network.name} has no batch norm with running statistics: there is nothing to estimate "
            "anew; leave --recalibrate (recalibrate= in Python) out"
        )


def _graphs(parts: Mapping[str, nn.Module]) -> Iterator[fx.GraphModule]:
    for part in parts.values():
        yield from (module for module in part.modules() if isinstance(module, fx.GraphModule))


def _norms(graph: fx.GraphModule) -> list[fx.Node]:
    return [node for node in graph.graph.nodes if node.target in BATCH_NORMS]


def _open(module: fx.GraphModule, norm: _Norm) -> None:
    """Put ``norm`` in the place of every batch norm of a graph."""
    found = _norms(module)
    if not found:
        return
    name = "norm"
    while hasattr(module, name):
        name += "_"
    module.add_submodule(name, norm)
    for node in found:
        # (x, weight, bias, mean, variance, …), and the ε before the last or last
        epsilon = node.args[7 if node.target is BATCH_NORMS[0] else 6]
        with module.graph.inserting_before(node):
            # The running statistics are no argument any more, and fall to the clean-up below.
            made = module.graph.call_module(name, (*node.args[:3], epsilon))
        for values in values_of_norm(node):
            made.meta = dict(values.meta)
            values.replace_all_uses_with(made)
    module.graph.eliminate_dead_code()
    module.recompile()


def estimated(
    network: ResidualNetwork,
    ledger: Ledger,
    data: EvaluationData,
    stretches: Mapping[str, int],
    begin: Callable[[Batch], Callable[[str], None]],
    *,
    store: BlockStore | None = None,
    show_progress: bool = False,
    description: str = "",
) -> Statistics:
    """Walk the calibration examples, and note what the norms see.

    The batches are as equal as can be and hold at most 128 examples; each counts by its examples, as in a
    module that is run on equal batches in training mode with ``momentum=None``.

    Parameters
    ----------
    network, ledger : of ``opened``, on the device.
    data : the calibration examples.
    stretches : of the walk behind the stem, by name, with their share of the work.
    begin : runs the stem on a batch; returns what walks the stretch it is given the name of.

    Returns
    -------
    callable : by the name of a stretch or ``STEM``, the context in which norms take its statistics.

    Raises
    ------
    ResanalysisError : with fewer than two examples, or a number that the network's only batch size does not
        divide.
    """
    size = _batch_size(network, len(data))
    batches = Batches.of(
        network,
        data,
        batch_size=size,
        store=prefixed(store, "statistics"),
        show_progress=show_progress,
    )

    def measure(batch: Batch) -> Callable[[str], Block]:
        # The stem runs once a batch, for all stretches; its statistics are a stretch of their own.
        with ledger.noted() as of_stem:
            walk = begin(batch)

        def noted(name: str) -> Block:
            moments = of_stem
            if name != STEM:
                with ledger.noted() as moments:
                    walk(name)
            return {"examples": np.array(batch.stop - batch.start), **_block(moments)}

        return noted

    found = batches.measured({STEM: 0, **stretches}, measure, description)
    moments = {name: _mean(blocks, network.device) for name, blocks in found.items()}
    return lambda name: ledger.taken(moments[name])


def _batch_size(network: ResidualNetwork, examples: int) -> int:
    if examples < 2:
        raise ResanalysisError(
            f"statistics cannot be estimated on {examples} example{'s' * (examples != 1)}: give 2 or more; "
            "hundreds make them precise"
        )
    only = network.batch_size
    if only is not None and examples % only:
        raise ResanalysisError(
            f"{network.name} takes {only} examples at a time and no others: estimate its statistics on a "
            f"multiple of {only}, got {examples}"
        )
    # As few batches as the most allows, and those as equal as can be: a remainder of three would count with the
    # noise of three.
    return only or -(-examples // -(-examples // MOST_TOGETHER))


def _block(moments: Sequence[Moments]) -> dict[str, np.ndarray[Any, Any]]:
    """Statistics as arrays: means and variances (2, all channels), and the channels of each."""
    if not moments:
        return {"moments": np.zeros((2, 0), np.float32), "widths": np.zeros(0, np.int64)}
    widths = np.array([len(mean) for mean, _ in moments])
    both = torch.stack([torch.cat(values) for values in zip(*moments, strict=True)])
    return {"moments": both.cpu().numpy(), "widths": widths}


def _mean(blocks: Sequence[Block], device: torch.device) -> list[Moments]:
    """Of the batches, each norm's statistics on the device."""
    weights = [int(block["examples"]) for block in blocks]
    # The mean of the batches' variances, and not the variance of all examples, which the batches' different
    # means would widen: a norm in training sees one batch.
    every = np.stack([block["moments"] for block in blocks]).astype(np.float64)
    mean = np.average(every, axis=0, weights=weights)
    both = torch.from_numpy(mean.astype(blocks[0]["moments"].dtype)).to(device)
    pieces = both.split(blocks[0]["widths"].tolist(), dim=1)
    return [(piece[0].contiguous(), piece[1].contiguous()) for piece in pieces]
