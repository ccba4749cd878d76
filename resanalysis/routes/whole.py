"""A quantity of a whole data set, which is no mean over examples: what is kept of each example for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from resanalysis.routes.batches import Block
from resanalysis.statistics.whole import Statistic

Record = Mapping[str, NDArray[Any]]
"""What is kept of one example's output: arrays by name, of any length."""


@runtime_checkable
class WholeMetric(Protocol):
    """A quantity of a whole data set: mean average precision, mean intersection over union.

    It is asked twice. Once a batch: what to keep of each example's output. Once a route: the quantity of
    any sample of the examples, from what was kept of all of them, so that a bootstrap over examples runs
    no network and matches no box again.
    """

    def records(self, output: Any, labels: Tensor | None, examples: int) -> list[Record]:
        """What is kept of each example of a batch; all records have the same names."""
        ...

    def statistic(self, records: Sequence[Record]) -> Statistic:
        """The quantities of a route as a function of the weights of its examples.

        Parameters
        ----------
        records : of all examples, in the order of the data.
        """
        ...

    @property
    def resamples(self) -> int:
        """How many resamples of the examples its intervals take."""
        ...


def packed(records: Sequence[Sequence[Record]]) -> dict[str, NDArray[Any]]:
    """Records of routes by examples as few arrays, which a store keeps without pickles.

    Of each name, ``whole:NAME`` holds the values of all one after the other, and ``shape:NAME``
    (routes, examples, dimensions) says which are whose.
    """
    block: dict[str, NDArray[Any]] = {}
    for name in records[0][0]:
        arrays = [[np.asarray(record[name]) for record in row] for row in records]
        block[f"whole:{name}"] = np.concatenate([a.ravel() for row in arrays for a in row])
        block[f"shape:{name}"] = np.array(
            [[a.shape for a in row] for row in arrays], dtype=np.int64
        )
    return block


def joined_records(parts: Iterable[tuple[Sequence[int], Block]], routes: int) -> list[list[Record]]:
    """The records of each route, in the order of the data.

    Parameters
    ----------
    parts : what ``packed`` packed, in the order of the data, with the routes that it is of.
    routes : how many there are in all.
    """
    records: list[list[Record]] = [[] for _ in range(routes)]
    for numbers, part in parts:
        for number, more in zip(numbers, unpacked(part), strict=True):
            records[number] += more
    return records


def unpacked(block: Block) -> list[list[Record]]:
    """The records that ``packed`` packed."""
    names = [key.removeprefix("whole:") for key in block if key.startswith("whole:")]
    routes, examples = block[f"shape:{names[0]}"].shape[:2]
    found: list[list[dict[str, NDArray[Any]]]] = [
        [{} for _ in range(examples)] for _ in range(routes)
    ]
    for name in names:
        shapes = block[f"shape:{name}"]
        # The last end is that of all, which `split` does not take.
        ends = np.cumsum(shapes.prod(-1).ravel())[:-1]
        pieces = iter(np.split(block[f"whole:{name}"], ends))
        for row, own in zip(shapes, found, strict=True):
            for shape, record in zip(row, own, strict=True):
                record[name] = next(pieces).reshape(shape)
    return [list(row) for row in found]
