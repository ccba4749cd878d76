"""Which neighbours can go together: for each number of them, the span that costs least."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from resanalysis.experiments.prune_order import Damage, Order
from resanalysis.network import ResidualNetwork


def spans(network: ResidualNetwork, pool: Sequence[int], longest: int) -> list[tuple[int, ...]]:
    """Units of the pool that follow each other directly, shapes kept between them or not, up to ``longest``."""
    found: list[tuple[int, ...]] = []
    for start in pool:
        for length in range(1, longest + 1):
            units = tuple(range(start, start + length))
            last = units[-1]
            if last not in pool or (length > 1 and not network.joined(last)):
                break
            found.append(units)
    return found


def by_damage(
    damage: Damage,
    network: ResidualNetwork,
    pool: Sequence[int],
    steps: int,
    *,
    show_progress: bool = False,
) -> Order:
    """Of each length the span whose deletion costs least; up to n²/2 of them are deleted."""
    there = spans(network, pool, steps)
    keys = damage.of(there, f"{len(there)} spans", show_progress=show_progress)
    starts = [units[0] for units in there]
    best: dict[int, tuple[int, ...]] = {}
    for row in np.lexsort([starts, *keys[::-1]]):
        best.setdefault(len(there[row]), there[row])
    return Order("span", 0, tuple(best[length] for length in sorted(best)))


def by_distance(table: pd.DataFrame, pool: Sequence[int], steps: int) -> Order:
    """Of each length the span that turns the stream least, from the table of ``stream_spans``.

    Source: Gromov et al. 2024, "The Unreasonable Ineffectiveness of the Deeper Layers".
    """
    best: dict[int, tuple[int, ...]] = {}
    for row in table.sort_values(["distance", "start"], kind="stable").to_dict("records"):
        units = tuple(range(row["start"], row["start"] + row["length"]))
        if len(units) <= steps and set(units) <= set(pool):
            best.setdefault(len(units), units)
    return Order("span_distance", 0, tuple(best[length] for length in sorted(best)))
