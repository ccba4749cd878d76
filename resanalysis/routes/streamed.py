"""Routes through a network whose weights are in files: each is read once for a block of examples.

The weights of a model that does not fit the memory are best read rarely. So a block of examples goes through
the network together, on all routes, one part after the other, and all streams wait in memory meanwhile.

Source: the block schedule of FlexGen (Sheng et al. 2023), turned from tokens to routes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

from resanalysis.errors import ResanalysisError
from resanalysis.network import ResidualNetwork, Side, move_constants
from resanalysis.progress import progress_bar
from resanalysis.ranks import of_the_first
from resanalysis.routes.batches import Batch, Batches, Block, free_memory, joined, stream_bytes
from resanalysis.routes.route import Route
from resanalysis.routes.scores import Scorer
from resanalysis.routes.tree import run_step
from resanalysis.routes.turns import Schedule, schedule


def check_streams(network: ResidualNetwork, asked: Mapping[str, Any]) -> None:
    """Refuse what needs all weights in memory, where they are in files.

    Parameters
    ----------
    asked : arguments by name; ``None`` where they are not asked for.

    Raises
    ------
    ResanalysisError : naming the first.
    """
    if network.files is None:
        return
    half = "bf16" if network.arithmetic == "bf16" else None
    for name, value in {"arithmetic": half, **asked}.items():
        if value is not None:
            raise ResanalysisError(
                f"--{name.replace('_', '-')} needs other weights than those in the files, which "
                "--stream-weights leaves as they are: leave one of them out"
            )


class InMemory(nn.Module):
    """A part of a network that runs with other tensors in place of its own."""

    def __init__(self, part: nn.Module, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self.part = part
        self.takes_side = getattr(part, "takes_side", False)
        self._tensors = tensors

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return functional_call(self.part, self._tensors, args, kwargs)


def placed_graphs(network: ResidualNetwork, device: torch.device) -> ResidualNetwork:
    """The network on a device but for its weights, which stay in their files."""
    if device == network.device:
        return network
    there = network.parts()
    weights = {id(tensor): tensor for part in there.values() for tensor in _tensors(part).values()}
    parts = copy.deepcopy(there, weights)
    for part in parts.values():
        for module in part.modules():
            if isinstance(module, fx.GraphModule):
                move_constants(module, device, None)
    return network.with_parts(parts)


def brought(network: ResidualNetwork, place: str, device: torch.device) -> ResidualNetwork:
    """The network with the weights of one place, such as ``unit3``, in the device's memory."""
    there = network.parts()
    copies: dict[int, Tensor] = {}  # one of what the parts of a unit share
    made: dict[str, nn.Module] = {}
    for name, part in there.items():
        own = _tensors(part) if name.partition(".")[0] == place else {}
        for tensor in own.values():
            # `skip`, `branch` and `full` of a unit hold the same weights, which are read once.
            if id(tensor) not in copies:
                copies[id(tensor)] = tensor.detach().to(device, copy=True)
        if own:
            made[name] = InMemory(part, {key: copies[id(own[key])] for key in own})
    if network.files is not None:
        network.files.release()
    return network.with_parts({**there, **made})


def _tensors(part: nn.Module) -> dict[str, Tensor]:
    weights = dict(part.named_parameters(remove_duplicate=False))
    return {**weights, **dict(part.named_buffers(remove_duplicate=False))}


def in_turn(
    network: ResidualNetwork, places: Sequence[str], device: torch.device
) -> Generator[ResidualNetwork, None, None]:
    """The network with each place's weights in memory, one after the other.

    The next one's are read while one is used, so two are there at a time.
    """
    # A copy lets go of the interpreter while it runs, so that one thread is enough to read ahead.
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(brought, network, places[0], device)
        for following in (*places[1:], None):
            here = coming.result()
            if following is not None:
                coming = reader.submit(brought, network, following, device)
            yield here


@dataclass(frozen=True, eq=False)
class Walk:
    """Routes breadth first.

    Attributes
    ----------
    network : its weights in files; what else it has, where the batches go.
    routes : how many.
    plan : in which order its parts come.
    batches : some examples at a time, as the network takes them.
    scorer : made of the intact network's output and its batch.
    """

    network: ResidualNetwork
    routes: int
    plan: Schedule
    batches: Batches
    scorer: Callable[[Any, Batch], Scorer]

    def scores(self, start: int, stop: int, advance: Callable[[int], None]) -> Block:
        """Scores (routes, examples) of the examples from ``start`` to ``stop``, by name.

        Parameters
        ----------
        advance : called with 1 for each part of the network that is done.
        """
        size = self.batches.size
        each = [
            self.batches.batch(first, min(first + size, stop)) for first in range(start, stop, size)
        ]
        places = ["stem", *(turn.place for turn in self.plan.turns), "head"]
        # Closed also where a step raises: else the next weights would be read for nobody.
        with closing(in_turn(self.network, places, self.batches.device)) as steps:
            network = next(steps)
            streams = {0: [network.enter(batch.inputs) for batch in each]}
            for turn in self.plan.turns:
                advance(1)
                network = next(steps)
                for move in turn.moves:
                    before = streams[move.source]
                    streams[move.target] = [run_step(network, move.step, *b) for b in before]
                    if move.last:
                        del streams[move.source]
            advance(1)
            network = next(steps)
            found = [self._scored(network, streams, number, b) for number, b in enumerate(each)]
        advance(1)
        return joined(found)

    def _scored(
        self,
        network: ResidualNetwork,
        streams: dict[int, list[tuple[Tensor, Side]]],
        number: int,
        batch: Batch,
    ) -> Block:
        """Scores (routes, examples) of the batch of this number, whose streams have come to the head."""
        scorer = self.scorer(network.leave(*streams[self.plan.intact][number]), batch)
        result = torch.empty(len(scorer.names), self.routes, batch.rows)
        for stream, routes in self.plan.ends.items():
            if routes:
                rows = scorer.rows(network.leave(*streams[stream][number]))
                result[:, routes] = rows[:, None]
        return {name: batch.own(result[row]).numpy() for row, name in enumerate(scorer.names)}


def streamed(
    network: ResidualNetwork,
    routes: Sequence[Route],
    batches: Batches,
    scorer: Callable[[Any, Batch], Scorer],
    description: str,
    memory: int | None = None,
) -> list[Block]:
    """Scores of all routes, one block for each block of examples that was measured together.

    Parameters
    ----------
    network, batches, scorer : as of a ``Walk``.
    memory : bytes the streams may take; a quarter of what is free if left out.
    """
    plan = schedule(network, routes)
    placed = placed_graphs(network, batches.device)
    walk = Walk(placed, len(routes), plan, batches, scorer)
    budget = free_memory(batches.device) // 4 if memory is None else memory
    # A block of several batches shares one reading of the weights, and how many is what the streams leave of
    # the memory.
    held = plan.most * stream_bytes(network) * batches.size
    size = batches.size * of_the_first(max(1, budget // held))
    # The bar over blocks would stand still for minutes; each has one of its own, over the network's parts.
    blocks = replace(batches, size=size, filled=False, show_progress=False)

    def begin(block: Batch) -> Callable[[str], Block]:
        words = f"{description}, examples {block.start} to {block.stop} of {len(batches.data)}"

        def measure(_: str) -> Block:
            parts = len(plan.turns) + 2
            bar = progress_bar(words, parts, show=batches.show_progress)
            with torch.inference_mode(), bar as advance:
                return walk.scores(block.start, block.stop, advance)

        return measure

    return blocks.measured({"streamed": 1}, begin, description)["streamed"]
