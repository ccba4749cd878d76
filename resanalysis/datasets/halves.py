"""A data set in two parts, so that what is found on one can be measured on the other; in pairs; shuffled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from resanalysis.datasets.images import Dataset
from resanalysis.errors import ResanalysisError
from resanalysis.network import Inputs


def two_parts(data: Dataset, n: int, seed: int) -> tuple[Dataset, Dataset]:
    """A seeded subset of ``n`` examples, with the classes in their proportions, and all the others.

    Parameters
    ----------
    n : from 1 to one less than there are.
    """
    chosen = data.limited(n, seed)
    other = ~np.isin(data.indices, chosen.indices)
    return chosen, data.taken(other, f"the {int(other.sum())} that are not in a {chosen.subset}")


def set_aside(data: Dataset, n: int, seed: int, what: str) -> tuple[Dataset, Dataset]:
    """``n`` examples that are never measured, and all the others, which are.

    Parameters
    ----------
    what : is done on the ``n`` examples, for the message.

    Raises
    ------
    ResanalysisError : if there are not more than ``n``.
    """
    if not 0 < n < len(data):
        raise ResanalysisError(
            f"{what} on {n} examples that are not measured, of the {len(data)} there are: give 1 to "
            f"{len(data) - 1}, or more data (--limit counts both kinds)"
        )
    return two_parts(data, n, seed)


def others(data: Dataset, seed: int) -> Dataset:
    """For each example another one: of all ways to give every example to one other, a cycle drawn at random.

    Raises
    ------
    ResanalysisError : if there is only one.
    """
    if len(data) < 2:
        raise ResanalysisError("there is only one example: no other can stand in for it")
    cycle = np.random.default_rng(seed).permutation(len(data))
    given = np.empty_like(cycle)
    # Each to the next of one cycle through all: nobody is his own donor, and each is one once.
    given[cycle] = np.roll(cycle, -1)
    return data.taken(given, "each example's donor")


def shuffled(data: Dataset, seed: int) -> Dataset:
    """The same examples in a random order, so that any first few are a fair sample of all."""
    order = np.random.default_rng(seed).permutation(len(data))
    return data.taken(
        order, f"in random order, seed {seed}{f' ({data.subset})' if data.subset else ''}"
    )


@dataclass(frozen=True, eq=False)
class Section:
    """Examples ``start`` to ``stop`` of a data set, as a data set of their own."""

    data: Dataset
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def batch(self, start: int, stop: int) -> tuple[Inputs, Tensor | None]:
        """Examples ``start`` to ``stop`` of these."""
        return self.data.batch(self.start + start, self.start + stop)
