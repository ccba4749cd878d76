"""Finds the orders that are asked for, on the calibration examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import pandas as pd
import torch

from resanalysis.errors import ResanalysisError
from resanalysis.experiments.prune_joint import by_interactions
from resanalysis.experiments.prune_order import (
    AGAIN,
    DEFAULT,
    MEASURES,
    Damage,
    Order,
    at_random,
    by_measure,
    greedy,
)
from resanalysis.experiments.prune_spans import by_damage, by_distance
from resanalysis.experiments.stream import stream
from resanalysis.experiments.stream_spans import stream_spans
from resanalysis.network import ResidualNetwork
from resanalysis.progress import progress_bar
from resanalysis.routes.shared_store import prefixed
from resanalysis.routes.taken_out import taken_out


@dataclass(frozen=True, eq=False)
class Search:
    """What orders are made of.

    Attributes
    ----------
    network : the unraveled view.
    damage : measures deletions on the calibration examples.
    pool, steps : the units that may go, and how many do.
    draws, seed, eligible : of the random orders; whether transitions are in the pool.
    device, show_progress : how it runs.
    """

    network: ResidualNetwork
    damage: Damage
    pool: Sequence[int]
    steps: int
    draws: int
    seed: int
    eligible: bool
    device: torch.device | str | None
    show_progress: bool

    def measures(self, gone: Sequence[int] = ()) -> pd.DataFrame:
        """The table of ``stream`` of the network without some units."""
        part = ".".join(["measures", *(str(unit) for unit in gone)])
        return stream(
            taken_out(self.network, gone) if gone else self.network,
            self.damage.data,
            batch_size=self.damage.batch_size,
            device=self.device,
            seed=self.seed,
            store=prefixed(self.damage.store, part),
            show_progress=self.show_progress and not gone,
        )


def found_orders(search: Search, wanted: Sequence[str] | None) -> list[Order]:
    """The orders asked for, greedy first, or those of ``DEFAULT`` that there are.

    Raises
    ------
    ResanalysisError : if one is asked for that the network does not have.
    """
    measures = cache(search.measures)
    found: list[Order] = []
    for name in sorted(wanted or DEFAULT, key=lambda name: name != "greedy"):
        made = _found(search, name, measures)
        if not made and wanted is not None:
            raise ResanalysisError(_missing(search, name, measures()))
        found += made
    return found


def _found(search: Search, name: str, measures: Callable[[], pd.DataFrame]) -> list[Order]:
    """The orders of one name; none where the network does not have what they go by."""
    damage, pool, steps, shown = search.damage, search.pool, search.steps, search.show_progress
    nested = partial(Order.nested, name, steps=steps)
    match name:
        case "greedy":
            return [nested(greedy(damage, pool, steps, show_progress=shown))]
        case "lesion":
            return [nested(damage.ranked([], pool, show_progress=shown))]
        case "interactions":
            return [nested(by_interactions(damage, pool, steps, show_progress=shown))]
        case "span":
            return [by_damage(damage, search.network, pool, steps, show_progress=shown)]
        case "span_distance":
            return _by_distance(search)
        case "random":
            drawn = at_random(pool, search.draws, search.seed, search.eligible)
            return [nested(units, draw=number) for number, units in enumerate(drawn)]
        case _:
            units = _by_measure(search, name, measures())
            return [] if units is None else [nested(units)]


def _by_measure(search: Search, name: str, table: pd.DataFrame) -> tuple[int, ...] | None:
    """The order of a measure of the intact network, or of one taken anew; ``None`` where it has none."""
    if name.startswith(AGAIN):
        return _again(search, name.removeprefix(AGAIN), table)
    return by_measure(table, name, search.pool)


def _by_distance(search: Search) -> list[Order]:
    if not search.network.runs():
        return []
    table = stream_spans(
        search.network,
        search.damage.data,
        batch_size=search.damage.batch_size,
        device=search.device,
        seed=search.seed,
        store=prefixed(search.damage.store, "distances"),
        show_progress=search.show_progress,
    )
    order = by_distance(table, search.pool, search.steps)
    return [order] if order.removals else []


def _again(search: Search, name: str, first: pd.DataFrame) -> tuple[int, ...] | None:
    """The unit with the smallest value goes, the measure is taken of what is left, and so on."""
    if by_measure(first, name, search.pool) is None:
        return None
    gone: list[int] = []
    table, left = first, list(search.pool)
    with progress_bar(f"iterative {name}", search.steps, show=search.show_progress) as advance:
        for _ in range(search.steps):
            # Where the measure is defined for none that is left, they go in their order.
            ranked = by_measure(table, name, left) or tuple(left)
            gone.append(ranked[0])
            left.remove(ranked[0])
            table = search.measures(gone) if len(gone) < search.steps else table
            advance(1)
    return tuple(gone)


def _missing(search: Search, name: str, table: pd.DataFrame) -> str:
    has = [one for one in MEASURES if by_measure(table, one, search.pool) is not None]
    return (
        f"{search.network.name} has no {name.removeprefix(AGAIN)} to order its units by; it has "
        f"{', '.join(has) or 'no such measure'}"
    )
