"""Spans of units that are gone, each with the affine map in its place that comes nearest to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resanalysis.datasets import Dataset
from resanalysis.measures.passage import Passage, passages
from resanalysis.network import ResidualNetwork
from resanalysis.routes.batches import Batch, Batches, Block, BlockStore, Footprint, joined
from resanalysis.routes.evaluator import Scores, entered
from resanalysis.routes.linear_map import ChannelMap, by_channel, channel_axis, with_maps
from resanalysis.routes.metric import Metric
from resanalysis.routes.scores import Scorer, names_of
from resanalysis.routes.whole import Record, WholeMetric, joined_records, packed
from resanalysis.statistics.least_squares import Affine, added_up, best_affine, product_sums

Span = tuple[int, int]
"""First and last unit of neighbours that are gone."""
Maps = dict[Span, Affine]


def spans_of(network: ResidualNetwork, gone: Iterable[int]) -> list[Span]:
    """The units that are gone as spans, parted where one is left or something lies between."""
    units = sorted(gone)
    starts = [
        unit
        for before, unit in pairwise([-2, *units])
        if unit != before + 1 or not network.joined(unit)
    ]
    ends = [*(units[units.index(start) - 1] for start in starts[1:]), *units[-1:]]
    return list(zip(starts, ends, strict=True))


def fitted_maps(
    network: ResidualNetwork,
    data: Dataset,
    spans: Sequence[Span],
    *,
    batch_size: int | None = None,
    store: BlockStore | None = None,
    show_progress: bool = False,
) -> Maps:
    """The map of each span: from the stream behind it where its units are gone to where they are there.

    Both begin as the intact network's stream before the span; one passes its skips and joins alone. A map
    is of channels, the same at every place: least squares over all places of all examples (of tokens, those
    the attention mask keeps).

    Parameters
    ----------
    data : the calibration examples.

    Source: Shopkhoev et al. 2025, ReplaceMe: one linear map for a span of layers, in closed form.
    """
    batches = Batches.of(
        network, data, Footprint(live=1, held=16 + 3 * len(network), output=12),
        batch_size=batch_size, store=store, show_progress=show_progress,
    )  # fmt: skip
    blocks = batches.each(
        "maps", lambda batch: _sums(network, batch, spans), description=f"{len(spans)} linear maps"
    )
    return {span: best_affine(added_up([block[_name(span)] for block in blocks])) for span in spans}


def _name(span: Span) -> str:
    return f"{span[0]}-{span[1]}"


@torch.no_grad()
def _sums(network: ResidualNetwork, batch: Batch, spans: Sequence[Span]) -> Block:
    passed: list[Passage] = []
    passages(network, *network.enter(batch.inputs), passed.append)

    def sums(span: Span) -> NDArray[np.float64]:
        first, last = span
        h = passed[first].entered
        for passage in passed[first : last + 1]:
            h = passage.unit.without_branch(h, passage.side)
        return product_sums(*_rows(batch, h, passed[last].left))

    return {_name(span): sums(span) for span in spans}


def _rows(batch: Batch, *streams: Tensor) -> Iterator[NDArray[np.float64]]:
    """Each stream (N, …) as rows (M, C), those of examples and tokens that count."""
    count = batch.stop - batch.start
    for h in streams:
        rows, kept = by_channel(h[:count]), batch.kept_tokens
        if kept is not None and kept[:count].shape == h[:count].shape[:2]:
            rows = rows[kept[:count].flatten().to(rows.device)]
        yield rows.double().cpu().numpy()


def replaced(
    network: ResidualNetwork, gone: Sequence[int], maps: Maps, *, fold: bool = True
) -> ResidualNetwork:
    """The network without some units, a map in place of each span of them.

    Parameters
    ----------
    maps : of all spans that they make.
    """
    like = torch.zeros((), dtype=network.float_type, device=network.device)
    placed = {
        last: ChannelMap(maps[first, last], channel_axis(network.units[last].out_shape), like)
        for first, last in spans_of(network, gone)
    }
    return with_maps(network, gone, placed, fold=fold)


def replaced_scores(
    network: ResidualNetwork,
    removals: Sequence[Sequence[int]],
    maps: Maps,
    data: Dataset,
    metric: Metric | WholeMetric | None = None,
    *,
    batch_size: int | None = None,
    store: BlockStore | None = None,
    show_progress: bool = False,
) -> Scores:
    """Scores of the intact network, then without each set of units, maps in their places."""
    networks = [network, *(replaced(network, gone, maps, fold=False) for gone in removals)]
    batches = Batches.of(
        network, data, batch_size=batch_size, store=store, show_progress=show_progress
    )

    def scored(batch: Batch) -> Block:
        h, side = entered(network, batch)
        scorer = Scorer.of(network.leave(*network.walk(h, side)), batch.labels, metric, batch.rows)
        rows: list[Tensor] = []
        records: list[list[Record]] = []
        for one in networks:
            output = one.leave(*one.walk(h, side))
            rows.append(scorer.rows(output))
            records.append(scorer.records(output, batch.stop - batch.start))
        stacked = torch.stack(rows, dim=1)
        block = {name: batch.own(stacked[row]).numpy() for row, name in enumerate(scorer.names)}
        return block | (packed(records) if any(records) else {})

    with torch.inference_mode():
        blocks = batches.each("replaced", scored)
    names = names_of(metric, False)
    values = joined([{name: block[name] for name in names} for block in blocks])
    if not isinstance(metric, WholeMetric):
        return Scores(values)
    every = range(len(networks))
    return Scores(values, joined_records(((every, block) for block in blocks), len(networks)))
