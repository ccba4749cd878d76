"""The rows of a lesion table: the intact network, then each unit, from numbers by route."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resanalysis.network import ResidualNetwork
from resanalysis.statistics.bootstrap import Band, Floats
from resanalysis.statistics.significance import holm


@dataclass(frozen=True)
class Numbers:
    """What is known of each route, the intact one first.

    Attributes
    ----------
    error, delta : with their intervals; ``delta`` is the paired difference from the intact network.
    p_values : that there is none.
    others : ``loss``, ``agreement`` and ``kl`` by name, in this order.
    """

    error: Band
    delta: Band
    p_values: Floats
    others: Mapping[str, Band]


def lesion_table(
    network: ResidualNetwork, numbers: Numbers, place: Mapping[int, int]
) -> pd.DataFrame:
    """The table, from numbers of routes that are ``place`` of the units, the intact network −1."""
    rows = rows_of(network, place)
    frame = pd.DataFrame(
        {
            "unit": range(-1, len(network)),
            "name": ["intact", *(unit.name for unit in network.units)],
            "stage": [-1, *(unit.stage for unit in network.units)],
            "transition": [False, *(unit.transition for unit in network.units)],
        }
    )
    add(frame, "error", numbers.error, rows)
    add(frame, "delta", numbers.delta, rows)
    frame["p_value"] = at(numbers.p_values, rows)
    # The intact network is no test, and counts for no correction; of detections there are no tests.
    p_values = frame["p_value"].to_numpy(dtype=float)
    intact = np.nan if np.isnan(p_values).all() else 1.0
    frame["p_holm"] = np.concatenate([[intact], holm(p_values[1:])])
    for name, band in numbers.others.items():
        frame[name] = at(band.mean, rows)
    for name, band in numbers.others.items():
        frame[f"{name}_low"], frame[f"{name}_high"] = at(band.low, rows), at(band.high, rows)
    return frame


def rows_of(network: ResidualNetwork, place: Mapping[int, int]) -> NDArray[np.int64]:
    """The route of each row; −1 of a unit that has none."""
    return np.array([place.get(unit, -1) for unit in range(-1, len(network))])


def at(values: Floats, rows: NDArray[np.int64]) -> Floats:
    """Values of the routes at the rows of the table; NaN for a unit that has no route."""
    return np.where(rows < 0, np.nan, values[rows])


def add(frame: pd.DataFrame, name: str, band: Band, rows: NDArray[np.int64]) -> None:
    """A number in three columns: itself and the ends of its interval."""
    for column, values in zip((name, f"{name}_low", f"{name}_high"), band, strict=True):
        frame[column] = at(values, rows)
