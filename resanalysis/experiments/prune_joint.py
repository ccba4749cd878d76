"""An order in which units go that knows how the damages of every two of them add up."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from resanalysis.experiments.prune_order import Damage

Floats = NDArray[np.float64]


def by_interactions(
    damage: Damage, pool: Sequence[int], steps: int, *, show_progress: bool = False
) -> tuple[int, ...]:
    """Units in the order that their single damages and the interactions of all pairs say is the least harmful.

    Every unit and every pair is deleted once, which takes about n³/6 unit evaluations an example, and no more
    is measured; ``greedy`` deletes n²/2 sets, but one step waits for the other.
    """
    pairs = list(combinations(pool, 2))
    removals: list[Sequence[int]] = [(), *((unit,) for unit in pool), *pairs]
    cost = damage.of(removals, f"{len(pairs)} pairs", show_progress=show_progress)[0]
    place = {unit: row for row, unit in enumerate(pool)}
    alone = cost[1 : 1 + len(pool)] - cost[0]
    joint = np.zeros((len(pool), len(pool)))
    for (first, second), together in zip(pairs, cost[1 + len(pool) :] - cost[0], strict=True):
        a, b = place[first], place[second]
        joint[a, b] = joint[b, a] = together - alone[a] - alone[b]
    return tuple(pool[row] for row in looking_ahead(alone, joint, steps))


def looking_ahead(alone: Floats, joint: Floats, steps: int) -> list[int]:
    """Greedy with a look-ahead of two on the damage of second order: Σ alone + Σ joint over the pairs gone.

    At each step the two that would together cost least beside those gone are found, and the one of them that
    costs less goes; ties go to the earlier one. What both then cost is asked again, with one more gone.

    Parameters
    ----------
    alone : (n,) damage of each.
    joint : (n, n), symmetric, 0 on the diagonal: the interaction of each two.
    """
    gone: list[int] = []
    for _ in range(steps):
        left = [row for row in range(len(alone)) if row not in gone]
        # What each adds to those gone: its own damage, and its interactions with them.
        adds = alone + joint[:, gone].sum(1)
        both = {(a, b): adds[a] + adds[b] + joint[a, b] for a, b in combinations(left, 2)}
        next_two = min(both, key=lambda pair: both[pair]) if both else tuple(left)
        gone.append(min(next_two, key=lambda row: adds[row]))
    return gone
