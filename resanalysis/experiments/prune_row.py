"""One row of ``prune.csv``: the network without some units beside the intact one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resanalysis.measures.cost import Costs
from resanalysis.routes.evaluator import Scores
from resanalysis.statistics.intervals import (
    Interval,
    mean_interval,
    paired_difference,
    paired_rate_difference,
    wilson,
)

COLUMNS = (
    "order", "draw", "removed", "units", "unit", "name", "error", "error_low", "error_high",
    "delta", "delta_low", "delta_high", "loss", "agreement", "kl", "parameters", "flops", "speedup",
    "speedup_low", "speedup_high", "flops_ratio", "loss_low", "loss_high", "agreement_low",
    "agreement_high", "kl_low", "kl_high",
)  # fmt: skip
"""Of ``prune.csv``, in their order."""


def row_of(scores: Scores, row: int, costs: Costs, gone: Sequence[int]) -> dict[str, Any]:
    """Numbers of one route beside those of the intact network.

    Parameters
    ----------
    scores, row : the scores, intact network first, and the number of the route.
    gone : units without branches, in the order they went.

    Returns
    -------
    dict : the columns of ``COLUMNS`` but ``order``, ``draw`` and ``name``; speed-ups are NaN.
    """
    parameters, flops = costs.left(gone)
    whole = costs.left(())[1] + costs.flops_elsewhere
    left = flops + costs.flops_elsewhere
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
    for name, values in scores.values.items():
        interval = _interval(values[row])
        facts |= dict(zip((name, f"{name}_low", f"{name}_high"), interval, strict=True))
    error, base = scores.values["error"][row], scores.values["error"][0]
    if not gone:
        change = Interval(0.0, 0.0, 0.0) if np.isfinite(base).all() else Interval(*[np.nan] * 3)
    elif _is_rate(error) and _is_rate(base):
        change = paired_rate_difference(error, base)
    elif len(error) > 1:
        change = paired_difference(error, base)
    else:
        change = Interval(float(error[0] - base[0]), np.nan, np.nan)
    return facts | dict(zip(("delta", "delta_low", "delta_high"), change, strict=True))


def _is_rate(values: NDArray[np.float32]) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())


def _interval(values: NDArray[np.float32]) -> Interval:
    """Mean with Wilson's interval of a rate, or the t interval of other values."""
    mean = float(values.mean(dtype=np.float64))
    if _is_rate(values):
        low, high = wilson(float(values.sum(dtype=np.float64)), len(values))
        return Interval(mean, float(low), float(high))
    return mean_interval(values) if len(values) > 1 else Interval(mean, np.nan, np.nan)
