"""What an experiment costs, in forward passes of an example: said before it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Cost = Callable[[int, Mapping[str, Any]], float]
"""From the number of units that can be deleted and the options to unit evaluations an example, about."""


def pairs_cost(units: int, _: Mapping[str, Any]) -> float:
    """All pairs: what lies before the first of the two is shared, and what lies between."""
    return units * (units + 1) * (units + 2) / 6 + units


def effects_cost(units: int, _: Mapping[str, Any]) -> float:
    """Every unit skipped, and a branch again for its direct effect on each later one."""
    return units * (units + 1)


def shapley_cost(units: int, options: Mapping[str, Any]) -> float:
    """All deletions, or random orders: deletions of an order have on average half the branches left."""
    from resanalysis.experiments.shapley import MOST_EXACT, ORDERS

    sampled = options.get("orders") is not None or options.get("precision") is not None
    if units <= MOST_EXACT and not sampled:
        return 2 ** (units + 1)
    return (options.get("orders") or ORDERS) * units**2 * 0.4


def refinement_cost(units: int, _: Mapping[str, Any]) -> float:
    """Forward once, and back at twice that."""
    return 3 * units


def scaling_cost(units: int, options: Mapping[str, Any]) -> float:
    """A pass for each factor; orders are of few examples, and not counted."""
    from resanalysis.experiments.scaling import FACTORS

    return len(options.get("factors") or FACTORS) * units


def prune_cost(units: int, options: Mapping[str, Any]) -> float:
    """Each order searched for on its share of the examples, and measured on the others."""
    from resanalysis.experiments.prune_order import AGAIN, DEFAULT

    orders: Sequence[str] = options.get("orders") or DEFAULT
    steps = min(options.get("until") or units, units)
    share = float(options.get("calibration", 0.5))
    searched = {"greedy": steps * units**2 / 4, "lesion": units**2 / 2, "span": units**3 / 6}
    searched |= {"interactions": pairs_cost(units, options), "random": 0.0}
    found = sum(
        searched.get(name, 3 * units * (steps if name.startswith(AGAIN) else 1)) for name in orders
    )
    rows = steps * sum(int(options.get("draws", 10)) if name == "random" else 1 for name in orders)
    return share * found + (1 - share) * rows * units * 0.4


def said(cost: Cost, units: int, examples: int, options: Mapping[str, Any]) -> str:
    """About how much work lies ahead."""
    evaluations = cost(units, options)
    return (
        f"about {float(f'{evaluations:.2g}'):,.0f} unit evaluations for each of {examples:,} examples: "
        f"{float(f'{evaluations / units:.2g}'):,.3g} forward passes"
    )
