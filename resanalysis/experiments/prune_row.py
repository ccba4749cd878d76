"""One row of ``prune.csv``: the network without some units beside the intact one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from resanalysis.experiments.protocol import AGAIN
from resanalysis.experiments.whole import metric_bands, whole_bands
from resanalysis.measures.cost import Costs
from resanalysis.routes.evaluator import Scores
from resanalysis.statistics.bootstrap import Band
from resanalysis.statistics.intervals import changes_from_first, intervals_of
from resanalysis.statistics.whole import Redrawn

COLUMNS = (
    "order", "draw", "removed", "units", "unit", "name", "error", "error_low", "error_high",
    "delta", "delta_low", "delta_high", "loss", "agreement", "kl", "parameters", "flops", "speedup",
    "speedup_low", "speedup_high", "flops_ratio", "loss_low", "loss_high", "agreement_low",
    "agreement_high", "kl_low", "kl_high",
)  # fmt: skip
"""Of ``prune.csv``, in their order."""


@dataclass(frozen=True)
class Measured:
    """Every route's numbers with their intervals, of one kind for each quantity.

    Attributes
    ----------
    bands : ``error``, ``loss``, ``agreement``, ``kl``, and ``delta``, the paired difference from the intact
        error; a metric's quantities with theirs; the same with statistics estimated anew, where they were; a
        row for each route, the intact network first.
    """

    bands: dict[str, Band]

    @staticmethod
    def of(scores: Scores, whole: dict[str, Redrawn], seed: int) -> Measured:
        """From the scores of every example, and quantities that are of all examples together."""
        bands = {name: intervals_of(rows, seed=seed) for name, rows in scores.values.items()}
        for again in ("", AGAIN):
            error = scores.values.get(f"error{again}")
            if error is None:
                continue
            bands[f"delta{again}"] = changes_from_first(error, seed=seed)
            if "metric" in scores.values:
                own = metric_bands(scores.values[f"metric{again}"], seed)
                bands |= {f"{name}{again}": band for name, band in own.items()}
        return Measured(bands | whole_bands(whole))

    @property
    def further(self) -> list[str]:
        """Columns beside ``COLUMNS``: a metric's, and those of statistics estimated anew."""
        every = [f"{name}{end}" for name in self.bands for end in ("", "_low", "_high")]
        return [name for name in every if name not in COLUMNS]


def row_of(
    measured: Measured, row: int, before: Costs, after: Costs, gone: Sequence[int]
) -> dict[str, Any]:
    """Numbers of one route beside those of the intact network.

    Parameters
    ----------
    measured, row : of all routes, and the number of this one.
    before, after : costs of the units as they are, and of what is left where some are gone.
    gone : units without branches, in the order they went.

    Returns
    -------
    dict : the columns of ``COLUMNS`` but ``order``, ``draw`` and ``name``; speed-ups are NaN.
    """
    parameters, flops = after.left(gone)
    whole = before.left(())[1] + before.flops_elsewhere
    left = flops + after.flops_elsewhere
    facts: dict[str, Any] = {
        "removed": len(gone),
        "units": " ".join(str(unit) for unit in sorted(gone)),
        "unit": gone[-1] if gone else -1,
        "parameters": parameters,
        "flops": flops,
        "flops_ratio": whole / left if left else float("nan"),
        "speedup": np.nan,
        "speedup_low": np.nan,
        "speedup_high": np.nan,
    }
    for name, band in measured.bands.items():
        ends = band.row(row)
        facts |= dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
    return facts
