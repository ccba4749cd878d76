"""Many routes over one data set, every common prefix computed once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Protocol

import numpy as np
import torch
import torch.utils._pytree as pytree
from numpy.typing import NDArray
from torch import Tensor

from resanalysis.errors import ResanalysisError
from resanalysis.network import Inputs, ResidualNetwork, Side
from resanalysis.progress import progress_bar
from resanalysis.routes.arithmetic import arithmetic
from resanalysis.routes.forward_only import forward_only, in_bf16
from resanalysis.routes.route import (
    BranchOnly,
    Bridge,
    Full,
    Parallel,
    Route,
    SkipOnly,
    Step,
    intact,
)
from resanalysis.routes.scores import NAMES, Metric, Reference, scores
from resanalysis.view.outputs import logits_of

# Unit evaluations per block of routes: seconds of work, so that an interruption loses little.
_BLOCK_STEPS = 1500
# On a CPU, activations that stay in the cache make a unit up to twice as fast.
_CACHED_BYTES = 8 * 2**20


class EvaluationData(Protocol):
    """A data set as evaluation needs it; ``resanalysis.datasets.Dataset`` is one."""

    def __len__(self) -> int: ...

    def batch(self, start: int, stop: int) -> tuple[Inputs, Tensor | None]:
        """Inputs and labels of examples ``start`` to ``stop``."""
        ...


class BlockStore(Protocol):
    """Keeps finished blocks of an evaluation, so that an interrupted one goes on."""

    def get(self, key: str) -> Mapping[str, NDArray[np.float32]] | None: ...

    def put(self, key: str, arrays: Mapping[str, NDArray[np.float32]]) -> None: ...


@dataclass(frozen=True)
class Scores:
    """Per-example scores of every route.

    Attributes
    ----------
    values : for each of ``error``, ``loss``, ``agreement`` and ``kl``, and ``metric`` where one was given,
        an array (routes, N).
    """

    values: dict[str, NDArray[np.float32]]

    def mean(self, name: str) -> NDArray[np.float64]:
        """Mean over examples of each route, in double precision."""
        return self.values[name].mean(axis=1, dtype=np.float64)


@dataclass
class PrefixTree:
    """Routes by their common beginnings; a node is a step, ``ends`` the routes that end there."""

    children: dict[Step, PrefixTree] = field(default_factory=dict)
    ends: list[int] = field(default_factory=list)
    size: int = 0

    @staticmethod
    def of(routes: Sequence[tuple[int, Route]]) -> PrefixTree:
        """The tree of numbered routes; ``size`` counts the steps below each node."""
        root = PrefixTree()
        for number, route in routes:
            path = [root]
            new = 0
            for step in route.steps:
                child = path[-1].children.get(step)
                if child is None:
                    child = path[-1].children[step] = PrefixTree()
                    new += 1
                path.append(child)
            path[-1].ends.append(number)
            fresh_from = len(path) - new
            for depth, node in enumerate(path):
                node.size += len(path) - max(depth + 1, fresh_from)
        return root


def evaluate(
    network: ResidualNetwork,
    routes: Sequence[Route],
    data: EvaluationData,
    *,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    memory: int | None = None,
    fast: bool = True,
    metric: Metric | None = None,
    store: BlockStore | None = None,
    show_progress: bool = False,
    description: str = "evaluating",
) -> Scores:
    """Run every route on every example.

    The routes are walked as a prefix tree, depth first, the largest subtree last, so that no more than
    log₂(routes) streams are alive at a time.

    Parameters
    ----------
    network, routes, data : what is run; the network's ``precision`` says in which arithmetic.
    batch_size : examples at a time; found from ``memory`` and the stream's size if left out.
    device : where to run; where the network's weights are if left out.
    memory : bytes the streams may take; a quarter of what is free if left out.
    fast : fold batch norm and fuse (``resanalysis.routes.forward_only``); predictions stay the same.
    metric : a score of your own, called with a batch's output, its labels (or ``None``) and the intact
        network's output; returns a number per example, kept as ``metric``.
    store : finished blocks are read from it and written to it.

    Returns
    -------
    Scores : rows in the order of ``routes``, columns in the order of the data.

    Raises
    ------
    ResanalysisError : if there are no routes or no data, if the output has no logits and there is no
        ``metric``, or if what the ``metric`` returns is no number per example.
    """
    if not routes or len(data) == 0:
        raise ResanalysisError(f"nothing to evaluate: {len(routes)} routes on {len(data)} examples")
    blocks = _blocks(routes)
    trees = [PrefixTree.of(block) for block in blocks]
    if fast:
        runner = forward_only(network, device=device, parts=_parts_used(network, routes))
    else:
        runner = _placed(network, device)
    size = network.batch_size or batch_size or chosen_batch_size(network, len(data), memory)
    names = NAMES if metric is None else (*NAMES, "metric")
    values = np.empty((len(names), len(routes), len(data)), dtype=np.float32)
    starts = range(0, len(data), size)
    total = sum(tree.size for tree in trees) * len(starts)
    reference_tree = PrefixTree.of([(0, intact(network))])
    with (
        torch.inference_mode(),
        arithmetic(network.precision),
        progress_bar(description, total, show=show_progress) as advance,
    ):
        for start in starts:
            stop = min(start + size, len(data))
            entered: tuple[Tensor, Side, _Judge] | None = None
            for index, (block, tree) in enumerate(zip(blocks, trees, strict=True)):
                rows = [number for number, _ in block]
                key = f"{index:05d}-{start:08d}-{stop:08d}"
                known = store.get(key) if store is not None else None
                if known is None:
                    if entered is None:
                        h, side, labels, output = _enter(runner, data, start, stop, reference_tree)
                        examples = size if network.batch_size else stop - start
                        entered = h, side, _Judge.of(output, labels, metric, examples)
                    h, side, judge = entered
                    result = _Walk(runner, side, judge).scores(tree, h, rows)
                    known = {name: result[row, :, : stop - start] for row, name in enumerate(names)}
                    if store is not None:
                        store.put(key, known)
                for row, name in enumerate(names):
                    values[row, rows, start:stop] = known[name]
                advance(tree.size)
    return Scores({name: values[row] for row, name in enumerate(names)})


def intact_outputs(
    network: ResidualNetwork,
    data: EvaluationData,
    *,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The intact network's logits with the labels, some examples at a time, on the device they are on."""
    runner = _placed(network, device)
    size = network.batch_size or batch_size or chosen_batch_size(network, len(data))
    tree = PrefixTree.of([(0, intact(network))])
    for start in range(0, len(data), size):
        stop = min(start + size, len(data))
        with torch.inference_mode(), arithmetic(network.precision):
            _, _, labels, output = _enter(runner, data, start, stop, tree)
        logits = logits_of(output)
        if logits is None:
            raise ResanalysisError(
                f"the model returns {_described(output)}, in which there are no logits"
            )
        count = stop - start
        yield logits[:count], None if labels is None else labels[:count]


def _placed(network: ResidualNetwork, device: torch.device | str | None) -> ResidualNetwork:
    """The network as it is, on the device and in the precision wanted."""
    if device is not None:
        network = network.to(device)
    done = network.precision != "bf16" or network.float_type is torch.bfloat16
    return network if done else in_bf16(network)


def _blocks(routes: Sequence[Route]) -> list[list[tuple[int, Route]]]:
    """Routes in an order that keeps common prefixes together, in blocks of bounded work."""
    order = sorted(
        range(len(routes)), key=lambda number: [_sort_key(s) for s in routes[number].steps]
    )
    blocks: list[list[tuple[int, Route]]] = [[]]
    work = 0
    before: tuple[Step, ...] = ()
    for number in order:
        steps = routes[number].steps
        pairs = zip(before, steps, strict=False)
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        cost = len(steps) - (shared if blocks[-1] else 0)
        if blocks[-1] and work + cost > _BLOCK_STEPS:
            blocks.append([])
            work, cost = 0, len(steps)
        blocks[-1].append((number, routes[number]))
        work += cost
        before = steps
    return blocks


def _sort_key(step: Step) -> tuple[str, str]:
    return type(step).__name__, repr(step)


def _parts_used(network: ResidualNetwork, routes: Sequence[Route]) -> set[str]:
    """The parts the routes run, so that only these are made fast."""
    used = {"stem", "head"} | {name for name in network.parts() if name.startswith("bridge")}
    fields = {
        "full": ("full", "whole", "join"),
        "skip": ("skip", "join"),
        "branch": ("branch", "join"),
    }
    for step in {step for route in routes for step in route.steps} | set(intact(network).steps):
        match step:
            case Full(unit, factor):
                plain = network.units[unit].skip_kind == "none"
                kinds = ["full"] if factor == 1.0 and not plain else ["skip", "branch"]
            case SkipOnly(unit):
                kinds = ["skip"]
            case BranchOnly(unit):
                kinds = ["branch"]
            case Parallel(units):
                used |= {f"unit{u}.{name}" for u in units for name in (*fields["full"], "branch")}
                continue
            case Bridge():
                continue
        used |= {f"unit{unit}.{name}" for kind in kinds for name in fields[kind]}
    return used


def _enter(
    network: ResidualNetwork,
    data: EvaluationData,
    start: int,
    stop: int,
    reference_tree: PrefixTree,
) -> tuple[Tensor, Side, Tensor | None, Any]:
    """Stem output, side inputs, labels and the intact output of one batch, on the network's device."""
    inputs, labels = data.batch(start, stop)
    if network.batch_size is not None and stop - start < network.batch_size:
        inputs, labels = _padded(inputs, network.batch_size), _padded(labels, network.batch_size)
    device = network.device

    def placed(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if value.ndim == 4 and network.channels_last:
            return value.to(device, memory_format=torch.channels_last)
        return value.to(device)

    h, side = network.enter(pytree.tree_map(placed, inputs))
    if network.precision == "bf16":
        h, side = _in_bf16(h), tuple(_in_bf16(value) for value in side)
    labels = None if labels is None else labels.to(device)
    reference: Stream = (h, ())
    for step in _only_route(reference_tree):
        reference = _stepped(network, step, reference, side)
    return h, side, labels, network.leave(reference[0], (*side, *reference[1]))


def _in_bf16(value: Tensor) -> Tensor:
    if not value.is_floating_point():
        return value
    largest = torch.finfo(torch.bfloat16).max  # the lowest float32, which masks hold, would be −∞
    return value.clamp(-largest, largest).bfloat16()


def _only_route(tree: PrefixTree) -> list[Step]:
    steps: list[Step] = []
    while tree.children:
        step, tree = next(iter(tree.children.items()))
        steps.append(step)
    return steps


def _padded(value: Any, size: int) -> Any:
    def rows(item: Any) -> Any:
        if not isinstance(item, Tensor) or item.ndim == 0:
            return item
        return torch.cat([item, item[-1:].expand(size - len(item), *item.shape[1:])])

    return pytree.tree_map(rows, value)


@dataclass(frozen=True)
class _Judge:
    """Scores outputs of one batch of ``examples`` against the intact network's ``output``."""

    output: Any
    intact: Reference | None
    labels: Tensor | None
    metric: Metric | None
    examples: int

    @staticmethod
    def of(output: Any, labels: Tensor | None, metric: Metric | None, examples: int) -> _Judge:
        logits = logits_of(output)
        intact = None if logits is None else Reference.of(logits)
        return _Judge(output, intact, labels, metric, examples)

    def rows(self, output: Any) -> Tensor:
        """The scores (names, examples) of one output, on the CPU."""
        logits = logits_of(output)
        if logits is None or self.intact is None:
            if self.metric is None:
                raise ResanalysisError(
                    f"the model returns {_described(self.output)}, in which there are no logits to "
                    "score; give a function of your own with --metric (metric= in Python)"
                )
            rows = torch.full((len(NAMES), self.examples), torch.nan)
        else:
            rows = scores(logits, self.labels, self.intact).cpu()
        if self.metric is None:
            return rows
        own = torch.as_tensor(self.metric(output, self.labels, self.output))
        if own.shape != (self.examples,):
            raise ResanalysisError(
                f"the metric returned shape {tuple(own.shape)} for {self.examples} examples; it must "
                "return one number for each"
            )
        return torch.cat([rows, own.detach().float().cpu()[None]])


def _described(output: Any) -> str:
    if isinstance(output, Mapping):
        return f"a dict of {', '.join(str(key) for key in output)}"
    if isinstance(output, Sequence) and len(output):
        return f"a {type(output).__name__} of {len(output)}, first {_described(output[0])}"
    return f"a {type(output).__name__}"


Stream = tuple[Tensor, Side]
"""The stream, and what the head has read of it on the way."""


@dataclass(frozen=True)
class _Walk:
    """One depth-first pass over a prefix tree for one batch."""

    network: ResidualNetwork
    side: Side
    judge: _Judge

    def scores(self, tree: PrefixTree, h: Tensor, rows: Sequence[int]) -> NDArray[np.float32]:
        place = {number: index for index, number in enumerate(rows)}
        count = len(NAMES) + (self.judge.metric is not None)
        result = torch.empty(count, len(rows), self.judge.examples)
        self._below(tree, (h, ()), place, result)
        return result.numpy()

    def _below(
        self, tree: PrefixTree, stream: Stream, place: dict[int, int], result: Tensor
    ) -> None:
        while True:
            if tree.ends:
                h, taken = stream
                kept = self.judge.rows(self.network.leave(h, (*self.side, *taken)))
                for number in tree.ends:
                    result[:, place[number]] = kept
            if not tree.children:
                return
            *small, (step, largest) = sorted(tree.children.items(), key=lambda item: item[1].size)
            for other, subtree in small:
                aside = _stepped(self.network, other, stream, self.side)
                self._below(subtree, aside, place, result)
                del aside
            stream = _stepped(self.network, step, stream, self.side)
            tree = largest


def _stepped(network: ResidualNetwork, step: Step, stream: Stream, side: Side) -> Stream:
    h, taken = stream
    if isinstance(step, Bridge):
        taken = network.tapped(step.unit, h, taken)
    return run_step(network, step, h, side), taken


def run_step(network: ResidualNetwork, step: Step, h: Tensor, side: Side) -> Tensor:
    """Apply one step of a route to the stream."""
    match step:
        case Full(unit, 1.0):
            return network.units[unit](h, side)
        case Full(unit, factor):
            return network.units[unit].scaled(h, factor, side)
        case SkipOnly(unit):
            return network.units[unit].without_branch(h, side)
        case BranchOnly(unit):
            return network.units[unit].without_skip(h, side)
        case Bridge(unit):
            return network.cross(unit, h, side)
        case Parallel(units, loops):
            for _ in range(loops):
                total = network.units[units[0]](h, side)
                for unit in units[1:]:  # a running sum: memory does not grow with the units
                    total = total + network.units[unit](h, side)
                h = total / len(units)
            return h


def chosen_batch_size(network: ResidualNetwork, examples: int, memory: int | None = None) -> int:
    """A power of two that stays inside the memory budget and, on a CPU, near the cache.

    It depends on the network and the device alone while memory is plenty, so that the same command
    gives the same table.
    """
    shapes = [shape for unit in network.units for shape in (unit.in_shape, unit.out_shape)]
    stream = max((4 * int(np.prod(shape)) for shape in shapes), default=4)
    budget = free_memory(network.device) // 4 if memory is None else memory
    # A branch widens the stream at most fourfold; some eight streams wait at branchings of the tree. Of the
    # output, the intact one is kept, and one more is scored in pieces.
    fits = max(1, budget // (16 * stream + 12 * network.outputs))
    target = _CACHED_BYTES // stream if network.device.type == "cpu" else 4096
    size = max(1, min(fits, max(target, 16), 4096, examples))
    return size if size == examples else 1 << (size.bit_length() - 1)


def free_memory(device: torch.device) -> int:
    """Bytes that can be allocated on the device; 2 GiB where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 2 * 2**30
