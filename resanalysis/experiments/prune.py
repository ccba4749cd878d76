"""In which order units can go: by measured damage, by cheap measures, jointly, as spans, at random."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch

from resanalysis.datasets import Dataset
from resanalysis.errors import ResanalysisError
from resanalysis.experiments.protocol import recalibrating
from resanalysis.experiments.prune_measured import Replace, Running, measured_table, way_without
from resanalysis.experiments.prune_order import By, Damage, check_by, check_orders, halves
from resanalysis.experiments.prune_search import Search, found_orders
from resanalysis.experiments.prune_timing import add_speed_ups
from resanalysis.experiments.whole import metric_facts, metric_of
from resanalysis.measures.chance import chance_error
from resanalysis.network import ResidualNetwork
from resanalysis.provenance import Provenance
from resanalysis.routes.answers import Answers
from resanalysis.routes.batches import BlockStore
from resanalysis.routes.evaluator import has_logits
from resanalysis.routes.forward_only import forward_only
from resanalysis.routes.metric import Metric


def prune(
    network: ResidualNetwork,
    data: Dataset,
    *,
    orders: Sequence[str] | None = None,
    draws: int = 10,
    by: By | None = None,
    until: int | None = None,
    transitions: Literal["eligible", "excluded"] = "eligible",
    calibration: float = 0.5,
    timing: float = 20.0,
    metric: Metric | type | None = None,
    recalibrate: int | None = None,
    replace: Replace = "nothing",
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    store: BlockStore | None = None,
    show_progress: bool = False,
    answers: Answers | None = None,
) -> pd.DataFrame:
    """Delete units one after the other, in several orders, and measure the network after each.

    The orders are found on a seeded share of the examples, the calibration half, and every number of the
    table is measured on the others: a greedy order fits its examples, and would look too good on them.
    Weights stay as trained, and batch-norm statistics but for ``recalibrate``; skips and joins of deleted units
    stay.

    Parameters
    ----------
    orders : which to compare; ``greedy`` (at each step the unit whose deletion, given those gone, costs
        least), ``lesion`` (its damage when it alone is deleted), ``interactions`` (single damages and those of
        all pairs, greedily with a look-ahead of two), ``span`` and ``span_distance`` (for each number of units
        the neighbours that cost least, or turn the stream least), a measure of ``stream`` (``influence``,
        ``ratio``, ``branch_norm``, ``cosine``, ``gradient_cosine``, ``gate``, ``bn_scale``, ``scale``;
        the smallest value goes first), the same with ``iterative_`` before it (taken anew after each unit
        that goes), ``random``. If left out, ``greedy``, ``lesion``, the first four measures that the
        network has and ``random``.
    draws : random orders.
    by : what the damage is for ``greedy`` and ``lesion``: ``loss``, ``error``, ``kl`` from the intact
        output, or ``metric``, the first of its numbers (``map`` of objects to be found, ``miou`` of classes of
        pixels), which is the better the higher where it does not say ``higher_is_better = False``. If left
        out the metric, where there is one, else the loss, or without labels the KL divergence.
    until : how many units go; all that can if left out.
    transitions : whether units that change the stream's shape may go.
    calibration : share of the examples that the orders are found on.
    timing : seconds to measure speed-ups for, about; 0 leaves them out.
    metric : a score of your own, as in ``lesion``, whose columns it adds.
    recalibrate : estimate batch-norm statistics on so many of the calibration half for each shortened network,
        and measure it again, in further columns; the orders stay those of statistics as trained.
    replace : ``linear`` puts the affine map of channels that comes nearest to it, found on the calibration
        half, in the place of each span of units that are gone. Orders are those of deletions.
    batch_size, device, store, show_progress : how it runs; they change no number but the speed-ups.
    answers : as in ``lesion``, of the examples that the numbers are from.

    Returns
    -------
    DataFrame : the intact network (``order`` is ``intact``), then a row for each order, draw and number
        of units gone: ``order``, ``draw``, ``removed``, ``units`` (all gone, separated by spaces),
        ``unit`` and ``name`` (the one that went last), ``error`` with Wilson's interval, ``delta``, the
        paired difference from the intact error with its interval, ``loss``, ``agreement``, ``kl``,
        ``parameters`` and ``flops`` left in the units, ``speedup`` measured (median over pairs, with its
        interval; some rows of the greedy order), ``flops_ratio`` (operations of the intact network over
        those left, stem and head included), and the intervals of loss, agreement and KL. Of objects to be
        found ``map`` and ``ap50``, of classes of pixels ``miou``, and a ``metric``, each with its interval, and
        as ``map_delta`` the paired difference from the intact network. With
        ``recalibrate``, error, delta, loss, agreement and KL again in columns that end in
        ``_recalibrated`` (before ``_low`` and ``_high``).

    Raises
    ------
    ResanalysisError : if an order or another option makes no sense, a measure is asked for that the network
        does not have, or no unit can go.

    Source: Men et al. 2024, ShortGPT (influence; cheap orders); Veit et al. 2016 (deletion).
    """
    check_orders(orders)
    _check(draws, until)
    _check_replace(replace, answers, recalibrate)
    eligible = transitions == "eligible"
    pool = _pool(network, eligible)
    steps = min(until or len(pool), len(pool))
    held, rest = halves(data, calibration, seed)
    scored_by = metric_of(metric, rest, answers=answers, recalibrate=recalibrate)
    chosen_by = check_by(by, held.batch(0, 1)[1] is not None, scored_by)
    if chosen_by != "metric" and scored_by is not None and not has_logits(network, held, device):
        raise ResanalysisError(
            f"the model returns no logits, and {chosen_by} is of these: compare by metric"
        )
    protocol = recalibrating(network, rest, _some(held, recalibrate, seed))
    ready = forward_only(network, device=device, parts=_parts_run(network))
    search_by = metric_of(metric, held) if chosen_by == "metric" else None
    damage = Damage(ready, held, chosen_by, batch_size, store, search_by)
    search = Search(network, damage, pool, steps, draws, seed, eligible, device, show_progress)
    found = found_orders(search, orders)
    running = Running(batch_size, device, store, show_progress)
    removals = [gone for order in found for gone in order.removals]
    way = way_without(network, held, removals, replace, running)
    frame, facts = measured_table(found, way, ready, protocol, seed, running, scored_by, answers)
    timed = add_speed_ups(frame, found[0], way, rest, timing, seed, running)
    frame.attrs = Provenance.of(
        network,
        rest,
        seed,
        n_calibration=len(held),
        calibration=f"orders found on {held.subset}; numbers from the other {len(rest)}",
        orders=list(dict.fromkeys(order.name for order in found)),
        draws=draws,
        by=chosen_by,
        transitions=transitions,
        replace=replace,
        timed_batch=timed,
        chance=_chance(rest),
        threads=torch.get_num_threads(),
        **protocol.facts,
        **facts,
        **metric_facts(metric),
    ).facts()
    return frame


def without_units(
    network: ResidualNetwork,
    data: Dataset,
    units: Iterable[int],
    *,
    replace: Replace = "nothing",
    calibration: float = 0.5,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
) -> ResidualNetwork:
    """The network of a row of ``prune``, for what takes networks: another experiment, ``shortened``.

    Parameters
    ----------
    data, replace, calibration, seed : as for ``prune``, so that the maps are those of its table.
    units : that are gone, as in the column ``units``.
    """
    held, _ = halves(data, calibration, seed)
    gone = tuple(units)
    way = way_without(network, held, [gone], replace, Running(batch_size, device))
    return way.network_without(gone)


def _some(held: Dataset, n: int | None, seed: int) -> Dataset | None:
    """So many of the examples that orders are found on, none of which is measured.

    Raises
    ------
    ResanalysisError : if there are not as many.
    """
    if n is not None and not 0 < n <= len(held):
        raise ResanalysisError(
            f"batch-norm statistics are estimated anew on {n} of the {len(held)} examples that orders are "
            "found on: give fewer, or a larger share of the data to --calibration"
        )
    return None if n is None else held.limited(n, seed)


def _check(draws: int, until: int | None) -> None:
    for name, value in (("draws", draws), ("until", 1 if until is None else until)):
        if value < 1:
            raise ResanalysisError(f"{name} must be at least 1, got {value}")


def _check_replace(replace: str, answers: Answers | None, recalibrate: int | None) -> None:
    if replace not in get_args(Replace):
        raise ResanalysisError(
            f"units that are gone cannot be replaced by {replace!r}; there are "
            f"{', '.join(get_args(Replace))}"
        )
    if replace == "nothing":
        return
    if answers is not None:
        raise ResanalysisError(
            f"answers of each example are kept of deletions, not of replace={replace}"
        )
    if recalibrate is not None:
        raise ResanalysisError(
            f"statistics are estimated anew for deletions, not for replace={replace}: give one of the two"
        )


def _pool(network: ResidualNetwork, eligible: bool) -> list[int]:
    """The units that may go."""
    pool = [u.index for u in network.units if u.deletable and (eligible or not u.transition)]
    if not pool:
        raise ResanalysisError(f"no unit of {network.name} can be deleted")
    return pool


def _chance(data: Dataset) -> float | None:
    """Share of the most common class: what the best answer has right that looks at no example."""
    error = chance_error(data)
    return None if np.isnan(error) else 1 - error


def _parts_run(network: ResidualNetwork) -> list[str]:
    """The parts that deletions run: of units with a graph of their own, the branch is never run alone."""
    alone = {
        f"unit{unit.index}.branch"
        for unit in network.units
        if unit.skip_kind != "none" and (unit.full is not None or unit.whole is not None)
    }
    return [name for name in network.parts() if name not in alone]
