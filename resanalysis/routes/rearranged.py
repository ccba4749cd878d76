"""Rearrangements of the middle of a network: its units skipped, moved, repeated or run side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Literal, get_args

import numpy as np

from resanalysis.errors import ResanalysisError
from resanalysis.network import ResidualNetwork
from resanalysis.routes.orders import count_orders, every_order
from resanalysis.routes.route import (
    Route,
    interchangeable,
    parallel,
    placed,
    reordered,
    swapped_order,
    without,
)

Kind = Literal["skip", "reverse", "shuffle", "repeat", "parallel", "looped", "swap"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What may be done to the middle; ``swap`` exchanges two neighbours at any place instead."""

Runs = tuple[tuple[int, ...], ...]
"""Consecutive units of equal stream shape that may change places, one tuple for each stage."""


@dataclass(frozen=True)
class Rearrangement:
    """One altered network.

    Attributes
    ----------
    kind : one of ``KINDS``.
    units : the units it touches: those that are deleted, run in parallel, or do not run at their place.
    size : units of the middle, moved or not; 2 of a swap.
    route : how the network is run.
    draw : the number of a random order, 0 for what is not random.
    order : the unit at each position, where every position runs one.
    """

    kind: Kind
    units: tuple[int, ...]
    route: Route
    size: int
    draw: int = 0
    order: tuple[int, ...] | None = None


def movable_runs(network: ResidualNetwork, stage: int | None = None) -> Runs:
    """The units of each stage that may change places: all of a transformer, and of a network with
    stages those behind each transition.

    Raises
    ------
    ResanalysisError : if no two units can change places, or not in the ``stage`` asked for.
    """
    found = [group for group in interchangeable(network) if len(group) > 1]
    if not found:
        raise ResanalysisError(
            f"no two of the {len(network)} units of {network.name} have the same shape and stage: "
            "there is nothing to rearrange"
        )
    if stage is None:
        return tuple(found)
    stages = {network.units[group[0]].stage: group for group in found}
    if stage not in stages:
        raise ResanalysisError(
            f"stage {stage} of {network.name} has no two units that can change places; "
            f"stages that have: {', '.join(str(there) for there in stages)}"
        )
    return (stages[stage],)


def middle(runs: Runs, kept: int) -> Runs:
    """The units left in the middle of each run when ``kept`` units of it stay as they are.

    Half of the kept units are at its beginning and half at its end; of an odd number the beginning has
    one more, as in the published code. A run with no more units than ``kept`` is left alone.
    """
    spans = (run[(kept + 1) // 2 : len(run) - kept // 2] for run in runs)
    return tuple(span for span in spans if span)


def middles(runs: Runs) -> dict[int, Runs]:
    """Every middle by the number of units it holds, from the smallest to the whole runs."""
    longest = max(len(run) for run in runs)
    found = [middle(runs, kept) for kept in range(longest - 1, -1, -1)]
    return {sum(len(span) for span in spans): spans for spans in found}


def rearrangements(
    network: ResidualNetwork,
    kinds: Sequence[Kind],
    spans: Sequence[Runs],
    runs: Runs,
    *,
    draws: int,
    loops: int,
    seed: int,
) -> Iterator[Rearrangement]:
    """Every kind at every middle in ``spans``; swaps at every pair of neighbours in ``runs``.

    A random order sorts units by keys that its draw gave them, so that those of one draw agree wherever
    middles overlap. No middle has an order twice, nor the trained one: where it has no more others than
    ``draws``, they are all taken, and keys that give an order which an earlier draw has are drawn anew.
    """
    for kind in kinds:
        if kind == "swap":
            yield from _swaps(network, runs)
            continue
        for span in spans:
            if kind in ("skip", "parallel", "looped"):
                yield _without_order(network, kind, span, loops)
            else:
                orders = _orders(len(network), kind, span, runs, draws, seed)
                yield from _in_orders(network, kind, span, orders)


def _swaps(network: ResidualNetwork, runs: Runs) -> Iterator[Rearrangement]:
    for pair in (pair for run in runs for pair in pairwise(run)):
        order = swapped_order(len(network), [pair])
        yield Rearrangement("swap", pair, reordered(network, order), 2, order=order)


def _without_order(network: ResidualNetwork, kind: Kind, span: Runs, loops: int) -> Rearrangement:
    """The kinds that do not run one unit at each position: all units of the middle are touched."""
    units = tuple(unit for part in span for unit in part)
    if kind == "skip":
        route = without(network, units)
    else:
        route = parallel(network, span, loops=loops if kind == "looped" else 1)
    return Rearrangement(kind, units, route, len(units))


def _in_orders(
    network: ResidualNetwork, kind: Kind, span: Runs, orders: Sequence[tuple[int, ...]]
) -> Iterator[Rearrangement]:
    """One network for each order; touched are the units that it moves, and no others of the middle."""
    units = [unit for part in span for unit in part]
    for draw, order in enumerate(orders):
        moved = tuple(position for position in units if order[position] != position)
        yield Rearrangement(kind, moved, placed(network, order), len(units), draw, order)


def _orders(
    n: int, kind: Kind, span: Runs, runs: Runs, draws: int, seed: int
) -> list[tuple[int, ...]]:
    """What runs at each position of the network: once, or as often as there are random orders."""
    if kind == "reverse":
        return [_filled(n, span, [part[::-1] for part in span])]
    if kind == "repeat":
        centre = {unit: run[len(run) // 2] for run in runs for unit in run}
        return [_filled(n, span, [[centre[part[0]]] * len(part) for part in span])]
    return _shuffles(n, span, draws, seed)


def _shuffles(n: int, span: Runs, draws: int, seed: int) -> list[tuple[int, ...]]:
    """Distinct random orders of a middle, or all it has."""
    if count_orders(span) <= draws:
        return [order.units for order in every_order(n, span)]
    found: list[tuple[int, ...]] = [tuple(range(n))]
    for draw in range(draws):
        order = found[0]
        for attempt in count():
            # A key for each unit of the network, also for those outside this middle: the same draw sorts a
            # wider middle by the same keys.
            keys = np.random.default_rng([seed, draw, attempt]).random(n)
            order = _filled(n, span, [sorted(part, key=keys.__getitem__) for part in span])
            if order not in found:
                break
        found.append(order)
    return found[1:]


def _filled(units: int, spans: Runs, contents: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The trained order with other units at the positions of each span."""
    order = list(range(units))
    for span, content in zip(spans, contents, strict=True):
        order[span[0] : span[-1] + 1] = content
    return tuple(order)
