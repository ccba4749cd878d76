"""Orders in which units can go: what one is, what deletions cost, and those that follow from numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resanalysis.datasets import Dataset
from resanalysis.datasets.halves import two_parts
from resanalysis.errors import ResanalysisError, check_names
from resanalysis.experiments.whole import first_quantity, higher_is_better
from resanalysis.network import ResidualNetwork
from resanalysis.progress import progress_bar
from resanalysis.routes.batches import EvaluationData
from resanalysis.routes.evaluator import BlockStore, Scores, evaluate
from resanalysis.routes.metric import Metric
from resanalysis.routes.route import without
from resanalysis.routes.shared_store import prefixed
from resanalysis.routes.whole import WholeMetric

By = Literal["loss", "error", "kl", "metric"]
MEASURES = (
    "influence", "ratio", "branch_norm", "cosine", "gradient_cosine", "gate", "bn_scale", "scale",
)  # fmt: skip
"""Columns of ``stream.csv`` that order units, the smallest value first to go."""
AGAIN = "iterative_"
"""Before a measure: it is taken anew after each unit that goes."""
SPANS = ("span", "span_distance")
"""Orders whose units are neighbours, other ones for each number of them."""
ORDERS = (
    "greedy", "lesion", "interactions", *SPANS, *MEASURES, *(AGAIN + name for name in MEASURES),
    "random",
)  # fmt: skip
DEFAULT = ("greedy", "lesion", "influence", "ratio", "branch_norm", "cosine", "random")


@dataclass(frozen=True)
class Order:
    """An order in which units go.

    Attributes
    ----------
    name, draw : one of ``ORDERS``, and the number of the random order (else 0).
    removals : the units that are gone for each number of them from 1 on, the one to go last at the end. Each
        holds the one before, but for spans.
    """

    name: str
    draw: int
    removals: tuple[tuple[int, ...], ...]

    @staticmethod
    def nested(name: str, units: Sequence[int], steps: int, draw: int = 0) -> Order:
        """The first unit, the first two, and so on until ``steps`` are gone."""
        return Order(name, draw, tuple(tuple(units[:k]) for k in range(1, steps + 1)))


@dataclass(frozen=True, eq=False)
class Damage:
    """Measures on the calibration examples what is lost without some units.

    Attributes
    ----------
    network : in a form to evaluate as it is, such as ``forward_only`` gives.
    by : what is compared first; ties go to the lower loss, then the lower KL, then the earlier unit.
    metric : of ``by="metric"``, on the same examples. Its first quantity is compared, without a bootstrap.
    """

    network: ResidualNetwork
    data: EvaluationData
    by: By
    batch_size: int | None = None
    store: BlockStore | None = None
    metric: Metric | WholeMetric | None = None

    def of(
        self, removals: Sequence[Sequence[int]], part: str, *, show_progress: bool = False
    ) -> NDArray[np.float64]:
        """What is compared of each removal (keys, removals), the first key first; infinite where unknown.

        Parameters
        ----------
        part : of the search, for the store and the progress.
        """
        scores = evaluate(
            self.network,
            [without(self.network, gone) for gone in removals],
            self.data,
            batch_size=self.batch_size,
            fast=False,  # it is fast already, and made so once for all steps
            metric=self.metric,
            store=prefixed(self.store, part),
            show_progress=show_progress,
            description=part,
        )
        columns = [self._first(scores), *(scores.mean(name) for name in ("loss", "kl"))]
        return np.where(np.isfinite(columns), columns, np.inf)

    def _first(self, scores: Scores) -> NDArray[np.float64]:
        """What is compared first, the lower the better."""
        if self.metric is None:
            return scores.mean(self.by)
        value = first_quantity(scores, self.metric)
        return -value if higher_is_better(self.metric) else value

    def ranked(
        self, gone: Sequence[int], candidates: Sequence[int], *, show_progress: bool = False
    ) -> list[int]:
        """The candidates, the one whose deletion beside ``gone`` costs least first."""
        part = f"damage-{'.'.join(str(unit) for unit in gone)}" if gone else "lesions"
        removals = [[*gone, unit] for unit in candidates]
        keys = self.of(removals, part, show_progress=show_progress)
        # The last key of lexsort is its first.
        return [candidates[int(row)] for row in np.lexsort([list(candidates), *keys[::-1]])]


def greedy(
    damage: Damage, pool: Sequence[int], steps: int, *, show_progress: bool = False
) -> tuple[int, ...]:
    """At each step the unit goes whose deletion, given those already gone, costs least.

    All candidates of a step are evaluated together, their common prefixes once: some
    ``steps · len(pool)`` routes in all.
    """
    gone: list[int] = []
    total = sum(len(pool) - step for step in range(steps))
    with progress_bar("greedy", total, show=show_progress) as advance:
        for _ in range(steps):
            candidates = [unit for unit in pool if unit not in gone]
            gone.append(damage.ranked(gone, candidates)[0])
            advance(len(candidates))
    return tuple(gone)


def by_measure(table: pd.DataFrame, name: str, pool: Sequence[int]) -> tuple[int, ...] | None:
    """Ascending order of a measure of ``stream``; ``None`` where no unit of the pool has it.

    Units it is not defined for go last, in their order.
    """
    values = table.set_index("unit")[name].reindex(list(pool)).to_numpy(dtype=np.float64)
    if not np.isfinite(values).any():
        return None
    keys = np.where(np.isfinite(values), values, np.inf)
    return tuple(pool[int(row)] for row in np.argsort(keys, kind="stable"))


def at_random(pool: Sequence[int], draws: int, seed: int, eligible: bool) -> list[tuple[int, ...]]:
    """The orders that ``lesion_many`` draws: more of them add to the first ones and change none."""
    generator = np.random.default_rng([seed, int(eligible)])
    return [tuple(int(unit) for unit in generator.permutation(pool)) for _ in range(draws)]


def halves(data: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """A seeded share of the examples, with the classes in their proportions, and the other examples.

    Raises
    ------
    ResanalysisError : if one of the two would be empty.
    """
    wanted = round(share * len(data)) if 0 < share < 1 else 0
    if not 0 < wanted < len(data):
        raise ResanalysisError(
            f"orders are found on some of the {len(data)} examples and measured on the others, and a "
            f"share of {share:g} leaves none for one of the two: give a calibration between 0 and 1"
        )
    return two_parts(data, wanted, seed)


def check_orders(wanted: Sequence[str] | None) -> None:
    """Refuse what is no order, and names given twice."""
    check_names("order", DEFAULT if wanted is None else wanted, ORDERS)


def check_by(by: str | None, labelled: bool, metric: Metric | WholeMetric | None) -> By:
    """What damage is measured by: a metric where there is one, else the loss, or without labels the KL."""
    if by is None and metric is None:
        return "loss" if labelled else "kl"
    if by == "metric" and metric is None:
        raise ResanalysisError(
            "there is no metric to compare by: name one with --metric (metric=), or leave --by (by=) out"
        )
    if by is None or by == "metric":
        return "metric"
    if by not in get_args(By):
        raise ResanalysisError(f"no damage {by!r}; there are {', '.join(get_args(By))}")
    if by in ("loss", "error") and not labelled:
        raise ResanalysisError(f"the {by} needs labels, and the data has none; compare by kl")
    return by  # type: ignore[return-value]
