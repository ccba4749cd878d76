"""Many routes over one data set, every common prefix computed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resanalysis.errors import ResanalysisError
from resanalysis.network import ResidualNetwork, Side
from resanalysis.routes.answers import Answers
from resanalysis.routes.batches import (
    Batch,
    Batches,
    Block,
    BlockStore,
    EvaluationData,
    joined,
)
from resanalysis.routes.forward_only import forward_only, in_bf16, parts_run
from resanalysis.routes.metric import Metric
from resanalysis.routes.recalibration import (
    INTACT,
    STEM,
    Statistics,
    as_trained,
    check_recalibrates,
    estimated,
    opened,
)
from resanalysis.routes.route import Route
from resanalysis.routes.scores import ANSWERS, Scorer, described, names_of
from resanalysis.routes.streamed import check_streams, streamed
from resanalysis.routes.tree import RouteBlock, route_blocks, walk_tree
from resanalysis.routes.whole import Record, WholeMetric, joined_records, packed
from resanalysis.view.outputs import logits_of


@dataclass(frozen=True)
class Scores:
    """Per-example scores of every route.

    Attributes
    ----------
    values : for each of ``error``, ``loss``, ``agreement`` and ``kl``, and ``metric`` where one was given,
        an array (routes, N).
    records : of a metric of the whole data set: what was kept, by route and example.
    """

    values: dict[str, NDArray[np.float32]]
    records: Sequence[Sequence[Record]] = field(default_factory=list[list[Record]])

    def mean(self, name: str) -> NDArray[np.float64]:
        """Mean over examples of each route, in double precision."""
        return self.values[name].mean(axis=1, dtype=np.float64)


def evaluate(
    network: ResidualNetwork,
    routes: Sequence[Route],
    data: EvaluationData,
    *,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    memory: int | None = None,
    fast: bool = True,
    metric: Metric | WholeMetric | None = None,
    answers: Answers | None = None,
    calibration: EvaluationData | None = None,
    store: BlockStore | None = None,
    show_progress: bool = False,
    description: str = "evaluating",
) -> Scores:
    """Run every route on every example.

    Parameters
    ----------
    network, routes, data : what is run; the network's ``arithmetic`` says in which. Weights that are in files
        are read there, a unit at a time (``resanalysis.routes.streamed``).
    batch_size : examples at a time; found from ``memory`` and the stream's size if left out.
    device : where to run; where the network's weights are if left out.
    memory : bytes the streams may take; a quarter of what is free if left out.
    fast : fold batch norm and fuse (``resanalysis.routes.forward_only``); predictions stay the same.
    metric : a score of your own, called with a batch's output, its labels (or ``None``) and the intact
        network's output; returns a number per example, kept as ``metric``. Of a ``WholeMetric`` what it
        keeps of each example is in ``records``.
    answers : filled with the scores of every route and example, and with predictions and entropies.
    calibration : examples, none of ``data``, on which batch-norm statistics are estimated anew for every
        place of every route, the intact network's too; as trained if left out.
    store : finished blocks are read from it and written to it.

    Returns
    -------
    Scores : rows in the order of ``routes``, columns in the order of the data.

    Raises
    ------
    ResanalysisError : if there are no routes or no data, if the output has no logits and there is no
        ``metric``, if what the ``metric`` returns is no number per example, or if there is a
        ``calibration`` and no batch norm, or its weights are in files.
    """
    if not routes or len(data) == 0:
        raise ResanalysisError(f"nothing to evaluate: {len(routes)} routes on {len(data)} examples")
    scorer = partial(_scorer, metric, answers is not None)
    if network.files is not None:
        check_streams(network, {"recalibrate": calibration})
        batches = Batches.of(
            network, data, batch_size=batch_size, store=store, show_progress=show_progress
        )
        batches = replace(batches, device=torch.device(device or network.device))
        _check_of_examples(metric)
        read = streamed(network, routes, batches, scorer, description, memory)
        return _kept(joined(read), data, answers)
    ledger = None
    if calibration is not None:
        check_recalibrates(network, len(calibration))
        network, ledger = opened(placed_network(network, device))
    if fast:
        ready = forward_only(network, device=device, parts=parts_run(network, routes))
    else:
        ready = placed_network(network, device)
    batches = Batches.of(
        ready,
        data,
        batch_size=batch_size,
        memory=memory,
        store=store,
        show_progress=show_progress,
    )
    blocks = {f"{index:05d}": block for index, block in enumerate(route_blocks(routes))}
    work = {name: block.tree.size for name, block in blocks.items()}
    with torch.inference_mode():
        statistics: Statistics = as_trained
        if ledger is not None and calibration is not None:
            statistics = estimated(
                ready,
                ledger,
                calibration,
                {INTACT: len(ready), **work},
                partial(_walked, ready, blocks),
                store=store,
                show_progress=show_progress,
                description=f"{description}, statistics",
            )
        begin = partial(_begun, ready, blocks, scorer, statistics)
        found = batches.measured(work, begin, description)
    records = _records(metric, blocks, found, len(routes))
    names = names_of(metric, answers is not None)
    values = _by_route(blocks, found, names, (len(routes), len(data)))
    return _kept(values, data, answers, records)


def _begun(
    network: ResidualNetwork,
    blocks: Mapping[str, RouteBlock],
    scorer: Callable[[Any, Batch], Scorer],
    statistics: Statistics,
    batch: Batch,
) -> Callable[[str], Block]:
    """Runs the intact network on a batch; what scores a block of routes against it."""
    with statistics(STEM):
        h, side = entered(network, batch)
    with statistics(INTACT):
        output = network.leave(*network.walk(h, side))
    scores_of = scorer(output, batch)

    def measure(name: str) -> Block:
        with statistics(name):
            return _block_scores(network, blocks[name], h, side, scores_of, batch)

    return measure


def _by_route(
    blocks: Mapping[str, RouteBlock],
    found: dict[str, list[Block]],
    names: Sequence[str],
    shape: tuple[int, int],
) -> dict[str, NDArray[np.float32]]:
    """Scores of ``shape`` (routes, examples) by name, of what was measured by block and batch."""
    values = {name: np.empty(shape, dtype=np.float32) for name in names}
    for key, block in blocks.items():
        parts = found.pop(key)  # let go as it is copied: together they are as large as all
        for name, rows in joined([{name: part[name] for name in names} for part in parts]).items():
            values[name][list(block.numbers)] = rows
    return values


def _scorer(
    metric: Metric | WholeMetric | None, answers: bool, output: Any, batch: Batch
) -> Scorer:
    """What scores outputs of a batch, given the intact network's."""
    return Scorer.of(output, batch.labels, metric, batch.rows, answers)


def _check_of_examples(metric: Metric | WholeMetric | None) -> None:
    """Refuse a metric of the whole data set where weights are read from their files."""
    if isinstance(metric, WholeMetric):
        raise ResanalysisError(
            "a metric of the whole data set is measured with all weights in memory: leave --stream-weights "
            "out, or give a function with --metric"
        )


def _kept(
    values: dict[str, NDArray[np.float32]],
    data: EvaluationData,
    answers: Answers | None,
    records: Sequence[Sequence[Record]] = (),
) -> Scores:
    """The scores, kept in ``answers`` too where these are asked for."""
    if answers is not None:
        answers.keep(data, values)
    kept = {name: rows for name, rows in values.items() if name not in ANSWERS}
    return Scores(kept, records)


def _records(
    metric: Metric | WholeMetric | None,
    blocks: Mapping[str, RouteBlock],
    found: Mapping[str, Sequence[Block]],
    routes: int,
) -> list[list[Record]]:
    """What a metric of the whole data set kept of the examples by each route."""
    if not isinstance(metric, WholeMetric):
        return []
    parts = ((block.numbers, part) for key, block in blocks.items() for part in found[key])
    return joined_records(parts, routes)


def _walked(
    network: ResidualNetwork, blocks: Mapping[str, RouteBlock], batch: Batch
) -> Callable[[str], None]:
    """Runs the stem on a batch; what walks a block of routes, heads included, or the intact network."""
    h, side = entered(network, batch)

    def walk(name: str) -> None:
        if name == INTACT:
            network.leave(*network.walk(h, side))
        else:
            walk_tree(network, blocks[name].tree, h, side, lambda _, *end: network.leave(*end))

    return walk


def _block_scores(
    network: ResidualNetwork,
    block: RouteBlock,
    h: Tensor,
    side: Side,
    scorer: Scorer,
    batch: Batch,
) -> Block:
    """Scores (routes, examples) of a block of routes on one batch, by name."""
    result = torch.empty(len(scorer.names), len(block.numbers), batch.rows)
    records: dict[int, list[Record]] = {}

    def arrive(ends: list[int], stream: Tensor, read: Side) -> None:
        output = network.leave(stream, read)
        # Routes that end at one node are the same route: scored once, written to each.
        result[:, ends] = scorer.rows(output)[:, None]
        known = scorer.records(output, batch.stop - batch.start)
        if known:
            records.update((end, known) for end in ends)

    # The walk may bring them in any order; `sorted` below puts them in that of the block.
    walk_tree(network, block.tree, h, side, arrive)
    found = {name: batch.own(result[row]).numpy() for row, name in enumerate(scorer.names)}
    return found | (packed([records[end] for end in sorted(records)]) if records else {})


def entered(network: ResidualNetwork, batch: Batch) -> tuple[Tensor, Side]:
    """The stream before the first unit and the side inputs, in the arithmetic of the units."""
    h, side = network.enter(batch.inputs)
    if network.arithmetic == "bf16":
        return _in_bf16(h), tuple(_in_bf16(value) for value in side)
    return h, side


def intact_logits(network: ResidualNetwork, batch: Batch) -> Tensor:
    """The network's logits for a batch (rows, …).

    Raises
    ------
    ResanalysisError : if there are none in what it returns.
    """
    output = network.leave(*network.walk(*entered(network, batch)))
    logits = logits_of(output)
    if logits is None:
        raise ResanalysisError(
            f"the model returns {described(output)}, in which there are no logits"
        )
    return logits


def has_logits(
    network: ResidualNetwork, data: EvaluationData, device: torch.device | str | None = None
) -> bool:
    """Whether there are logits in what the network returns for the first example."""
    ready = placed_network(network, device)
    batch = Batches.of(ready, data, batch_size=1).batch(0, 1)
    with torch.inference_mode():
        return logits_of(ready.leave(*ready.walk(*entered(ready, batch)))) is not None


def _in_bf16(value: Any) -> Any:
    if not value.is_floating_point():
        return value
    largest = torch.finfo(torch.bfloat16).max  # the lowest float32, which masks hold, would be −∞
    return value.clamp(-largest, largest).bfloat16()


def placed_network(
    network: ResidualNetwork, device: torch.device | str | None = None
) -> ResidualNetwork:
    """The network as it is, on the device and in the arithmetic wanted."""
    if device is not None:
        network = network.to(device)
    done = network.arithmetic != "bf16" or network.float_type is torch.bfloat16
    return network if done else in_bf16(network)
