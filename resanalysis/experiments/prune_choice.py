"""How many units to take out for good, read off the table of ``prune``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from resanalysis.errors import ResanalysisError


@dataclass(frozen=True)
class Choice:
    """Units to remove, and what the table says of the network without them.

    Attributes
    ----------
    units : in the order they went; empty if no number of them qualifies.
    drop : rise of the error, or without labels the share of answers that changed; NaN of what has no answers.
    reason : why there are none, else empty.
    """

    order: str
    units: tuple[int, ...]
    drop: float
    reason: str = ""

    @property
    def known(self) -> bool:
        """Whether there is a ``drop``."""
        return not np.isnan(self.drop)


def choose(
    frame: pd.DataFrame,
    *,
    order: str = "greedy",
    remove: int | None = None,
    max_drop: float | None = None,
) -> Choice:
    """The first ``remove`` units of an order, or as many as cost no more than ``max_drop``.

    Parameters
    ----------
    frame : the table of ``prune``.
    order : whose units go; of ``random``, the first draw.
    max_drop : of the error (a fraction) on the examples the table is measured on; the largest number of
        units that stays within it is taken, also where fewer cost more. Without labels, of the
        agreement with the intact network.

    Raises
    ------
    ResanalysisError : if both or none of ``remove`` and ``max_drop`` are given, the table does not have the
        order or as many units, or it has neither an error nor an agreement for ``max_drop``.
    """
    if (remove is None) == (max_drop is None):
        raise ResanalysisError("name either how many units to remove or the largest drop allowed")
    rows = frame.loc[(frame["order"] == order) & (frame["draw"] == 0)].sort_values("removed")
    if rows.empty:
        there = [name for name in dict.fromkeys(frame["order"]) if name != "intact"]
        raise ResanalysisError(f"the table has no order {order!r}; it has {', '.join(there)}")
    drops = rows["delta"].to_numpy(dtype=np.float64)
    if np.isnan(drops).all():
        drops = 1 - rows["agreement"].to_numpy(dtype=np.float64)
    if remove is not None:
        if not 1 <= remove <= len(rows):
            raise ResanalysisError(
                f"the order {order} has 1 to {len(rows)} units to remove, got {remove}"
            )
        return Choice(order, units_gone(rows, remove), float(drops[remove - 1]))
    if np.isnan(drops).all():
        raise ResanalysisError(
            "the table has neither an error nor an agreement for --max-drop (max_drop=) to bound: say how many "
            "units go with --remove (remove=)"
        )
    # A fraction such as 0.07 − 0.05 is above 0.02 by rounding alone.
    within = np.flatnonzero(drops <= float(max_drop or 0.0) + 1e-9)
    if not len(within):
        best = int(np.argmin(drops))
        return Choice(
            order,
            (),
            float("nan"),
            f"no number of units in the order {order} costs {max_drop:g} or less: the least is "
            f"{drops[best]:.4g}, with {best + 1} removed; no model was written",
        )
    count = int(within[-1]) + 1
    return Choice(order, units_gone(rows, count), float(drops[count - 1]))


def units_gone(rows: pd.DataFrame, count: int) -> tuple[int, ...]:
    """The first ``count`` units of an order as they went; of spans, the one of that length from its start.

    Parameters
    ----------
    rows : of one order and draw, by ``removed``.
    """
    went = tuple(int(unit) for unit in rows["unit"].iloc[:count])
    listed = tuple(int(unit) for unit in str(rows["units"].iloc[count - 1]).split())
    return went if set(went) == set(listed) else listed


def order_lines(frame: pd.DataFrame) -> list[str]:
    """Each order as one line, ``greedy: 21,25,3``: what can be copied into another tool.

    Of random orders the first draw. Spans hold other units for each number of them, and have no such line.
    """
    lines: list[str] = []
    for name, rows in frame.loc[(frame["draw"] == 0) & (frame["removed"] > 0)].groupby(
        "order", sort=False
    ):
        sorted_rows = rows.sort_values("removed")
        units = units_gone(sorted_rows, len(rows))
        if units == tuple(int(unit) for unit in sorted_rows["unit"]):
            lines.append(f"{name}: {','.join(map(str, units))}")
    return lines
