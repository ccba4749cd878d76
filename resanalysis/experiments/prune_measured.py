"""The network without some units, with nothing or with maps in their places: how it runs, and its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import torch
from torch import nn

from resanalysis.datasets import Dataset
from resanalysis.experiments.protocol import Protocol
from resanalysis.experiments.prune_order import Order
from resanalysis.experiments.prune_replace import (
    Maps,
    fitted_maps,
    replaced,
    replaced_scores,
    spans_of,
)
from resanalysis.experiments.prune_row import COLUMNS, Measured, row_of
from resanalysis.experiments.whole import redrawn_scores, whole_facts
from resanalysis.measures.cost import unit_costs
from resanalysis.network import ResidualNetwork
from resanalysis.routes.answers import Answers
from resanalysis.routes.batches import Batches, BlockStore
from resanalysis.routes.evaluator import Scores, evaluate, placed_network
from resanalysis.routes.metric import Metric
from resanalysis.routes.route import intact, without
from resanalysis.routes.shared_store import prefixed
from resanalysis.routes.shortening import shortened
from resanalysis.routes.taken_out import taken_out
from resanalysis.routes.whole import WholeMetric

Replace = Literal["nothing", "linear"]
"""What is in the place of units that are gone."""


@dataclass(frozen=True)
class Running:
    """What changes no number.

    Attributes
    ----------
    batch_size, device, store, show_progress : as for ``prune``.
    """

    batch_size: int | None = None
    device: torch.device | str | None = None
    store: BlockStore | None = None
    show_progress: bool = False

    def apart(self, word: str) -> dict[str, Any]:
        """All but the device as keyword arguments, the store's keys beginning with a word of their own."""
        return {
            "batch_size": self.batch_size,
            "store": prefixed(self.store, word),
            "show_progress": self.show_progress,
        }


@dataclass(frozen=True, eq=False)
class Way:
    """How a network is run without some of its units.

    Attributes
    ----------
    network : the unraveled view.
    maps : of all spans that may be gone, if there is anything in their places.
    """

    network: ResidualNetwork
    maps: Maps | None = None

    def network_without(self, gone: Sequence[int]) -> ResidualNetwork:
        """The same chain, with what is left of the units that are gone."""
        if self.maps is None:
            return taken_out(self.network, gone)
        return replaced(self.network, gone, self.maps)

    def module_without(self, gone: Sequence[int]) -> nn.Module:
        """What computes it with torch alone."""
        return shortened(self.network_without(gone), gone)


def way_without(
    network: ResidualNetwork,
    held: Dataset,
    removals: Sequence[Sequence[int]],
    replace: Replace,
    running: Running,
) -> Way:
    """How the network is run without any of the removals.

    Parameters
    ----------
    held : examples that maps are found on.
    """
    if replace == "nothing":
        return Way(network)
    spans = sorted({span for gone in removals for span in spans_of(network, gone)})
    ready = placed_network(network, running.device)
    return Way(network, fitted_maps(ready, held, spans, **running.apart("fitted")))


def measured_table(
    found: Sequence[Order],
    way: Way,
    ready: ResidualNetwork,
    protocol: Protocol,
    seed: int,
    running: Running,
    metric: Metric | WholeMetric | None = None,
    answers: Answers | None = None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A row for the intact network, and one for each order and number of units; no speed-ups yet.

    With it, what a caption has to state of the metric.

    Parameters
    ----------
    ready : the network in a form that deletions run fast in.
    protocol : the examples, and those that batch-norm statistics are estimated anew on.
    metric : measured beside error and loss.
    answers : kept of each row's network, whose number among them is then in the column ``route``.
    """
    # Units gone in another order are the same network.
    removals = {frozenset(gone): gone for order in found for gone in order.removals}
    scores = _scores(way, ready, list(removals.values()), protocol, running, metric, answers)
    whole = redrawn_scores(scores, metric, len(protocol.measured), seed)
    measured = Measured.of(scores, whole, seed)
    place = {gone: row for row, gone in enumerate(removals, start=1)}
    inputs = (
        Batches.of(way.network, protocol.measured).batch(0, min(2, len(protocol.measured))).inputs
    )
    before = unit_costs(way.network, inputs)
    rows = [
        row_of(measured, 0, before, before, ()) | {"order": "intact", "draw": 0, "name": "intact"}
    ]
    for order in found:
        for gone in order.removals:
            # Maps cost something, where they are not folded into their neighbours.
            after = before if way.maps is None else unit_costs(way.network_without(gone), inputs)
            row = row_of(measured, place[frozenset(gone)], before, after, gone)
            name = way.network.units[gone[-1]].name
            rows.append(row | {"order": order.name, "draw": order.draw, "name": name})
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *measured.further])
    if answers is not None:
        frame["route"] = [0, *(place[frozenset(g)] for order in found for g in order.removals)]
    return frame, whole_facts(whole)


def _scores(
    way: Way,
    ready: ResidualNetwork,
    removals: Sequence[Sequence[int]],
    protocol: Protocol,
    running: Running,
    metric: Metric | WholeMetric | None,
    answers: Answers | None,
) -> Scores:
    """Of the intact network, and without each of the removals."""
    how = running.apart("measured")
    if way.maps is not None:
        placed = placed_network(way.network, running.device)
        return replaced_scores(placed, removals, way.maps, protocol.measured, metric, **how)
    how |= {"metric": metric, "description": "prune", "answers": answers}
    if protocol.calibration is not None:
        routes = [intact(way.network), *(without(way.network, gone) for gone in removals)]
        return protocol.scored(routes, device=running.device, **how)
    routes = [intact(ready), *(without(ready, gone) for gone in removals)]
    return evaluate(ready, routes, protocol.measured, fast=False, **how)
