"""In which order units can go: greedily by measured damage, by cheap measures, at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from resanalysis.datasets import Dataset
from resanalysis.errors import ResanalysisError
from resanalysis.experiments.protocol import prepared
from resanalysis.experiments.prune_order import (
    DEFAULT,
    MEASURES,
    By,
    Damage,
    Order,
    at_random,
    by_measure,
    check_by,
    check_orders,
    greedy,
    halves,
)
from resanalysis.experiments.prune_row import COLUMNS, Measured, row_of
from resanalysis.experiments.stream import stream
from resanalysis.measures.cost import speed_ups, unit_costs
from resanalysis.network import ResidualNetwork
from resanalysis.provenance import Provenance
from resanalysis.routes.batches import Batches, BlockStore, chosen_batch_size
from resanalysis.routes.forward_only import forward_only
from resanalysis.routes.route import intact, without
from resanalysis.routes.shared_store import prefixed
from resanalysis.routes.stand_in import Replace

# Speed-ups are timed at this many numbers of units; a batch this large is timed on a CPU.
TIMED_SIZES = 6
TIMED_BATCH = 32


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
    recalibrate: int | None = None,
    replace: Replace = "zero",
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    store: BlockStore | None = None,
    show_progress: bool = False,
) -> pd.DataFrame:
    """Delete units one after the other, in several orders, and measure the network after each.

    The orders are found on a seeded share of the examples, the calibration half, and every number of the
    table is measured on the others: a greedy order fits its examples, and would look too good on them.
    Weights stay as trained, and batch-norm statistics but for ``recalibrate``; skips and joins of deleted units
    stay.

    Parameters
    ----------
    orders : which to compare; ``greedy`` (at each step the unit whose deletion, given those gone, costs
        least), ``lesion`` (its damage when it alone is deleted), a measure of ``stream`` (``influence``,
        ``ratio``, ``branch_norm``, ``cosine``, ``gradient_cosine``, ``gate``, ``bn_scale``, ``scale``;
        the smallest value goes first), ``random``. If left out, the first four measures that the network
        has and the other three.
    draws : random orders.
    by : what the damage is for ``greedy`` and ``lesion``: ``loss``, ``error`` or ``kl`` from the intact
        output. The loss if left out, or without labels the KL divergence.
    until : how many units go; all that can if left out.
    transitions : whether units that change the stream's shape may go.
    calibration : share of the examples that the orders are found on.
    timing : seconds to measure speed-ups for, about; 0 leaves them out.
    recalibrate : estimate batch-norm statistics on so many of the calibration half for each shortened network,
        and measure it again, in further columns; the orders stay those of statistics as trained.
    replace : what stands in for a deleted branch, as in ``lesion``; means are over the calibration half.
    batch_size, device, store, show_progress : how it runs; they change no number but the speed-ups.

    Returns
    -------
    DataFrame : the intact network (``order`` is ``intact``), then a row for each order, draw and number
        of units gone: ``order``, ``draw``, ``removed``, ``units`` (all gone, separated by spaces),
        ``unit`` and ``name`` (the one that went last), ``error`` with Wilson's interval, ``delta``, the
        paired difference from the intact error with its interval, ``loss``, ``agreement``, ``kl``,
        ``parameters`` and ``flops`` left in the units, ``speedup`` measured (median over pairs, with its
        interval; some rows of the greedy order), ``flops_ratio`` (operations of the intact network over
        those left, stem and head included), and the intervals of loss, agreement and KL. With
        ``recalibrate``, error, delta, loss, agreement and KL again in columns that end in
        ``_recalibrated`` (before ``_low`` and ``_high``).

    Raises
    ------
    ResanalysisError : if an order, ``by``, ``until`` or ``calibration`` makes no sense, a measure is asked for
        that the network does not have, or no unit can go.

    Source: Men et al. 2024, ShortGPT (influence; cheap orders); Veit et al. 2016 (deletion).
    """
    check_orders(orders if orders is not None else DEFAULT)
    for name, value in (("draws", draws), ("until", 1 if until is None else until)):
        if value < 1:
            raise ResanalysisError(f"{name} must be at least 1, got {value}")
    eligible = transitions == "eligible"
    pool = [u.index for u in network.units if u.deletable and (eligible or not u.transition)]
    if not pool:
        raise ResanalysisError(f"no unit of {network.name} can be deleted")
    steps = len(pool) if until is None else min(until, len(pool))
    held, rest = halves(data, calibration, seed)
    chosen_by = check_by(by, held.batch(0, 1)[1] is not None)
    protocol = prepared(
        network, rest, seed, calibration=_some(held, recalibrate, seed), by=replace, means=held,
        batch_size=batch_size, device=device, store=store,
    )  # fmt: skip
    lesioned = protocol.network
    ready = forward_only(lesioned, device=device, parts=_parts_run(lesioned))
    damage = Damage(ready, protocol.given(held), chosen_by, batch_size, store)
    found = _found(
        network, held, damage, pool, steps, orders=orders, draws=draws, eligible=eligible, seed=seed,
        device=device, show_progress=show_progress,
    )  # fmt: skip
    removals = dict.fromkeys(
        frozenset(order.units[:k]) for order in found for k in range(1, steps + 1)
    )
    scores = protocol.scored(
        [intact(network), *(without(network, gone) for gone in removals)],
        batch_size=batch_size,
        device=device,
        store=prefixed(store, "measured"),
        show_progress=show_progress,
        description="prune",
    )
    place = {gone: row for row, gone in enumerate(removals, start=1)}
    costs = unit_costs(network, Batches.of(network, rest).batch(0, min(2, len(rest))).inputs)
    measured = Measured.of(scores, seed)
    rows = [row_of(measured, 0, costs, ()) | {"order": "intact", "draw": 0, "name": "intact"}]
    for order in found:
        for k in range(1, steps + 1):
            gone = order.units[:k]
            row = row_of(measured, place[frozenset(gone)], costs, gone)
            name = network.units[gone[-1]].name
            rows.append(row | {"order": order.name, "draw": order.draw, "name": name})
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *measured.further])
    timed = _timed(network, rest, found, steps, timing, batch_size, device)
    if timed is not None:
        removed, _, moved, inputs = timed
        ratios = speed_ups(
            moved, [found[0].units[:k] for k in removed], inputs, seconds=timing, store=store,
            seed=seed, show_progress=show_progress,
        )  # fmt: skip
        for k, interval in zip(removed, ratios, strict=True):
            at = (frame["order"] == "greedy") & (frame["removed"] == k)
            frame.loc[at, ["speedup", "speedup_low", "speedup_high"]] = list(interval)
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
        timed_batch=None if timed is None else timed[1],
        chance=_chance(rest),
        threads=torch.get_num_threads(),
        **protocol.facts,
    ).facts()
    return frame


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


def _chance(data: Dataset) -> float | None:
    """Share of the most common class: what the best answer has right that looks at no example."""
    if data.labels is None or np.ndim(data.labels) != 1:
        return None
    return float(np.unique(data.labels, return_counts=True)[1].max() / len(data))


def _parts_run(network: ResidualNetwork) -> list[str]:
    """The parts that deletions run: of units with a graph of their own, the branch is never run alone."""
    alone = {
        f"unit{unit.index}.branch"
        for unit in network.units
        if unit.skip_kind != "none" and (unit.full is not None or unit.whole is not None)
    }
    return [name for name in network.parts() if name not in alone]


def _found(
    network: ResidualNetwork,
    data: Dataset,
    damage: Damage,
    pool: Sequence[int],
    steps: int,
    *,
    orders: Sequence[str] | None,
    draws: int,
    eligible: bool,
    seed: int,
    device: torch.device | str | None,
    show_progress: bool,
) -> list[Order]:
    """The orders asked for, greedy first, or those of ``DEFAULT`` that there are."""
    names = sorted(DEFAULT if orders is None else orders, key=lambda name: name != "greedy")
    table: pd.DataFrame | None = None
    found: list[Order] = []
    for name in names:
        if name == "greedy":
            found.append(Order(name, 0, greedy(damage, pool, steps, show_progress=show_progress)))
        elif name == "lesion":
            found.append(Order(name, 0, tuple(damage.ranked([], pool))))
        elif name == "random":
            drawn = at_random(pool, draws, seed, eligible)
            found += [Order(name, number, units) for number, units in enumerate(drawn)]
        else:
            if table is None:
                table = stream(
                    network, data, batch_size=damage.batch_size, device=device, seed=seed,
                    store=prefixed(damage.store, "measures"), show_progress=show_progress,
                )  # fmt: skip
            units = by_measure(table, name, pool)
            if units is not None:
                found.append(Order(name, 0, units))
            elif orders is not None:
                has = [other for other in MEASURES if by_measure(table, other, pool) is not None]
                raise ResanalysisError(
                    f"{network.name} has no {name} to order its units by; it has "
                    f"{', '.join(has) or 'no such measure'}"
                )
    return found


def _timed(
    network: ResidualNetwork,
    data: Dataset,
    found: Sequence[Order],
    steps: int,
    seconds: float,
    batch_size: int | None,
    device: torch.device | str | None,
) -> tuple[list[int], int, ResidualNetwork, Any] | None:
    """Numbers of units to time the greedy order at, with the batch, its size and where it runs."""
    if seconds <= 0 or found[0].name != "greedy":
        return None
    removed = sorted({round(float(k)) for k in np.linspace(1, steps, min(TIMED_SIZES, steps))})
    moved = network if device is None else network.to(device)
    most = TIMED_BATCH if moved.device.type == "cpu" else 256
    size = batch_size or min(chosen_batch_size(moved, len(data)), most)
    size = min(network.batch_size or size, len(data))
    return removed, size, moved, Batches.of(moved, data, batch_size=size).batch(0, size).inputs
