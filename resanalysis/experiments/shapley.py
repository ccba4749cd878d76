"""What each unit is worth on average over all orders in which units can go: Shapley values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any, Literal, get_args
from warnings import warn

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import stats

from resanalysis.datasets import Dataset
from resanalysis.errors import ResanalysisError
from resanalysis.network import ResidualNetwork
from resanalysis.provenance import Provenance
from resanalysis.routes.evaluator import BlockStore, evaluate
from resanalysis.routes.route import without
from resanalysis.routes.shared_store import prefixed
from resanalysis.statistics.bootstrap import mean_band
from resanalysis.statistics.two_way import TwoWay, two_way

By = Literal["loss", "error", "kl"]
Floats = NDArray[np.float64]
Gone = frozenset[int]
Scores = Mapping[Gone, NDArray[np.float32]]
"""The score of each example (N,) without a set of units."""

# With so many units or fewer, all 2ⁿ deletions cost no more than a good sample of orders.
MOST_EXACT = 12
ORDERS = 40
# A precision that takes more orders than this is not reached.
MOST_ORDERS = 2560


@dataclass(frozen=True, eq=False)
class Deletions:
    """Measures a network without any sets of units, on the same examples.

    Attributes
    ----------
    by : the score that is kept.
    batch_size, device, store, show_progress : how it runs.
    """

    network: ResidualNetwork
    data: Dataset
    by: By
    batch_size: int | None = None
    device: torch.device | str | None = None
    store: BlockStore | None = None
    show_progress: bool = False

    def __call__(self, sets: Sequence[Gone], part: str) -> Scores:
        """The scores without each set; ``part`` of the run says so in the progress and in the store."""
        scores = evaluate(
            self.network,
            [without(self.network, gone) for gone in sets],
            self.data,
            batch_size=self.batch_size,
            device=self.device,
            store=prefixed(self.store, part),
            show_progress=self.show_progress,
            description=f"shapley, {part}",
        )
        return dict(zip(sets, scores.values[self.by], strict=True))


def shapley(
    network: ResidualNetwork,
    data: Dataset,
    *,
    by: By = "loss",
    orders: int | None = None,
    precision: float | None = None,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    store: BlockStore | None = None,
    show_progress: bool = False,
) -> pd.DataFrame:
    """Share the damage of deleting all units out among them.

    Units are deleted one after the other until none is left. What a deletion adds to the loss, averaged over
    all n! orders, is the unit's value: above 0 for a unit that lowers the loss. The values sum to the loss
    without all units less the loss of the intact network, exactly. With 12 units or fewer they are computed
    from all 2ⁿ deletions; with more, or where ``orders`` or ``precision`` is given, from random orders, each
    followed by its reverse.

    Parameters
    ----------
    network : the unraveled view. Units that cannot be deleted always run and have no row.
    data : at least two examples, with labels unless ``by`` is ``"kl"``.
    by : what is shared out: ``loss`` (nats), ``error``, or ``kl`` from the intact output (nats).
    orders : orders to run, an even number of at least 4 with the reverses counted.
    precision : go on until the 95 % half-width over orders of every value is no larger; ``orders`` are run at
        first, and twice as many each time they are not enough.
    batch_size, device, store, show_progress : how it runs; they change no number.
    seed : of the orders.

    Returns
    -------
    DataFrame : a row per unit: ``unit``, ``name``; ``value`` with its 95 % interval over orders and examples
        (over examples where all deletions were measured); ``damage``, what deleting this unit alone adds,
        with its BCa interval over examples; ``se_orders`` and ``se_examples``, the standard error of the
        value if one of the two alone varied; ``stage``, ``transition``.

    Raises
    ------
    ResanalysisError : if ``by``, ``orders`` or ``precision`` makes no sense, there are no labels for it, or no
        unit can be deleted.

    Source: Shapley 1953; Castro, Gómez, Tejada 2009 (orders); Mitchell et al. 2022 (an order and its reverse).
    """
    units = [unit.index for unit in network.units if unit.deletable]
    _check(network, data, units, by, orders, precision)

    measure = Deletions(network, data, by, batch_size, device, store, show_progress)
    whole, bare = frozenset[int](), frozenset(units)
    alone = measure([whole, *(frozenset([unit]) for unit in units), bare], "each unit alone")
    if orders is None and precision is None and len(units) <= MOST_EXACT:
        found, ran = _over_examples(enumerated(measure, units)), None
    else:
        generator = np.random.default_rng(seed)
        found, ran = _sampled(measure, units, orders or ORDERS, precision, generator)
    frame = _frame(network, units, found, alone, seed)
    frame.attrs = Provenance.of(
        network,
        data,
        seed,
        by=by,
        orders=ran,
        over="examples" if ran is None else "orders and examples",
        intact=float(alone[whole].mean(dtype=np.float64)),
        all_removed=float(alone[bare].mean(dtype=np.float64)),
        left_out=[unit.index for unit in network.units if not unit.deletable],
    ).facts()
    return frame


def _frame(
    network: ResidualNetwork, units: Sequence[int], found: TwoWay, alone: Scores, seed: int
) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for place, unit in enumerate(units):
        damage = mean_band(added(alone, frozenset(), unit), seed=seed).row(0)
        here = network.units[unit]
        rows.append(
            {
                "unit": unit,
                "name": here.name,
                "value": found.mean[place],
                "value_low": found.low[place],
                "value_high": found.high[place],
                "damage": damage.mean,
                "damage_low": damage.low,
                "damage_high": damage.high,
                "se_orders": found.se_rows[place],
                "se_examples": found.se_columns[place],
                "stage": here.stage,
                "transition": here.transition,
            }
        )
    return pd.DataFrame(rows)


def added(scores: Scores, gone: Gone, unit: int) -> Floats:
    """What deleting a unit adds for each example (N,), where others are gone already."""
    return scores[gone | {unit}].astype(np.float64) - scores[gone].astype(np.float64)


def enumerated(measure: Deletions, units: Sequence[int]) -> Floats:
    """Exact values of each unit for each example (n, N), from all 2ⁿ deletions.

    A set of k others is gone before a unit in k! (n−1−k)! of the n! orders.
    """
    n = len(units)
    sets = [frozenset(gone) for size in range(n + 1) for gone in combinations(units, size)]
    scores = measure(sets, f"all {len(sets)} deletions")
    # Of n! orders that is a share of k! (n−1−k)! / n! = 1 / (n C(n−1, k)).
    return np.stack(
        [
            sum(
                (added(scores, gone, unit) / (n * comb(n - 1, len(gone))))
                for gone in sets
                if unit not in gone
            )
            for unit in units
        ]
    )


def of_orders(
    measure: Deletions, orders: Sequence[Sequence[int]], units: Sequence[int], part: str
) -> Iterator[Floats]:
    """Of each order, what each unit adds for each example (n, N) when it goes."""
    # Sets and not beginnings: two orders that begin with the same units, in whatever order, share what is left.
    sets = dict.fromkeys(
        frozenset(order[:k]) for order in orders for k in range(len(units) + 1)
    )  # a dict keeps the order in which they came
    scores = measure(list(sets), part)
    for order in orders:
        place = {unit: k for k, unit in enumerate(order)}
        yield np.stack([added(scores, frozenset(order[: place[u]]), u) for u in units])


def _sampled(
    measure: Deletions,
    units: Sequence[int],
    orders: int,
    precision: float | None,
    generator: np.random.Generator,
) -> tuple[TwoWay, int]:
    """Values over random orders with their reverses, and how many orders that took."""
    of_pairs: list[Floats] = []
    total: Floats | float = 0.0
    squares: Floats | float = 0.0
    while True:
        drawn = [generator.permutation(units).tolist() for _ in range(orders // 2)]
        # A unit that goes early in an order goes late in its reverse, so that the mean of the two mostly varies
        # less than that of two orders drawn apart.
        both = [one for order in drawn for one in (order, order[::-1])]
        values = of_orders(measure, both, units, f"orders {2 * len(of_pairs)} and on")
        for forth, back in zip(values, values, strict=True):  # the iterator gives them in turn
            pair = (forth + back) / 2
            of_pairs.append(pair.mean(1))
            total, squares = total + pair, squares + (pair**2).sum(1)
        # A pair is one draw: its two orders are no independent ones. Of the table of pairs by examples only
        # three sums are kept.
        pairs = len(of_pairs)
        found = two_way(np.array(of_pairs), np.asarray(total).T / pairs, np.asarray(squares))
        if precision is None:
            return found, 2 * pairs
        widest = float(stats.t.ppf(0.975, pairs - 1) * found.se_rows.max())
        if widest <= precision:
            return found, 2 * pairs
        orders = 2 * pairs
        if 4 * pairs > MOST_ORDERS:
            warn(
                f"after {2 * pairs} orders the widest half-width over orders is {widest:.3g}, not "
                f"{precision:g}: the values are given as precise as they are",
                stacklevel=3,
            )
            return found, 2 * pairs


def _over_examples(values: Floats) -> TwoWay:
    """Means with their intervals of values (n, N) that vary with the examples alone."""
    mean, low, high = mean_band(values)
    spread = values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
    return TwoWay(mean, low, high, np.zeros(len(values)), spread)


def _check(
    network: ResidualNetwork,
    data: Dataset,
    units: Sequence[int],
    by: str,
    orders: int | None,
    precision: float | None,
) -> None:
    if by not in get_args(By):
        raise ResanalysisError(f"no value by {by!r}; there are {', '.join(get_args(By))}")
    if by != "kl" and not data.labelled:
        raise ResanalysisError(
            f"the {by} needs labels, and {data.name} has none; share out the kl from the intact output"
        )
    if not units:
        raise ResanalysisError(f"no unit of {network.name} can be deleted")
    if orders is not None and (orders < 4 or orders % 2):
        raise ResanalysisError(
            f"orders come with their reverses: give an even number of at least 4, got {orders}"
        )
    if precision is not None and not precision > 0:
        raise ResanalysisError(f"a precision is a half-width above 0, got {precision}")
