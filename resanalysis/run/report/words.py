"""Columns and numbers of tables in words, as a reader hovers over a point."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

NAMES = {
    "delta": "change of error",
    "p_holm": "p (Holm)",
    "p_fdr": "p (false discovery)",
    "p_value": "p",
    "kl": "KL from intact",
    "kendall_tau": "Kendall's τ",
    "cka": "CKA",
    "std": "standard deviation",
    "change_mean": "mean change",
    "mean_norm": "mean norm",
    "rms_norm": "RMS norm",
    "signed_share": "share of the gradient",
    "damage_ab": "damage of both",
    "flops": "operations (FLOPs)",
    "macs": "multiply-adds",
}
"""Columns that are not called as they read; the others are, with spaces."""

_RATES = {"error", "agreement", "mean_error", "mean_agreement", "intact_error", "chance_error"}
_POINTS = {"delta"}
_P_VALUES = ("p_holm", "p_fdr", "p_value")
_ENDS = ("_low", "_high")


def name_of(column: str) -> str:
    """A column in words: ``kendall_tau`` is Kendall's τ."""
    return NAMES.get(column, column.replace("_", " "))


def short(value: Any) -> str:
    """A number in four digits, a text as it is, nothing for what is missing."""
    # numpy's own booleans are none of Python's.
    if isinstance(value, bool) or str(value) in ("True", "False"):
        return "yes" if str(value) == "True" else "no"
    if not isinstance(value, int | float):
        return "" if value is None else str(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 10**15 else f"{value:.3e}"
    if not math.isfinite(value):
        return "" if math.isnan(value) else str(value)
    return f"{value:.4g}".replace("-", "−")


def amount(column: str, value: float) -> str:
    """A value with its unit: a rate in percent, a change of one in points."""
    if column in _RATES:
        return f"{100 * value:.2f} %"
    if column in _POINTS:
        return f"{100 * value:+.2f} points".replace("-", "−")
    return short(float(value))


def tip(row: Mapping[str, Any], column: str) -> str:
    """What a point says: which row it is, its value, interval and p, a line each.

    Parameters
    ----------
    row : of a table.
    column : the one that is drawn.
    """
    lines = [_which(row), f"{name_of(column)} {amount(column, float(row[column]))}"]
    low, high = (row.get(f"{column}{end}") for end in _ENDS)
    if _known(low) and _known(high):
        first, last = (amount(column, float(end)) for end in (low, high) if end is not None)
        lines.append(f"95 %: {first.partition(' ')[0]} to {last}")
    for name in _P_VALUES:
        if _known(row.get(name)):
            lines.append(f"{name_of(name)} {short(float(row[name]))}")
            break
    return "\n".join(line for line in lines if line)


def _known(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


# What tells rows apart, in the order to say it: a number with the name beside it, or either alone.
_KEYS = (
    ("model", None),
    ("unit", "name"),
    ("unit_a", "name_a"),
    ("unit_b", "name_b"),
    ("skipped", "skipped_name"),
    ("layer", None),
    ("measure", None),
    ("kind", None),
    ("order", None),
    ("start", None),
    ("length", None),
    ("removed", None),
    ("size", None),
    ("factor", None),
    ("swaps", None),
    ("kendall_tau", None),
    ("draw", None),
)
_LONGEST = 60


PLACES = {name for name, _ in _KEYS if name != "kendall_tau"}
"""Columns that say where something was measured, and hold no measurement."""


def _which(row: Mapping[str, Any]) -> str:
    """What the row is of: ``unit 5 · layer1.0``."""
    parts: list[str] = []
    for number, name in _KEYS:
        value, named = row.get(number), row.get(name) if name else None
        if value is None or value != value:
            continue
        text = short(value)
        if len(text) <= _LONGEST:
            parts.append(f"{name_of(number)} {text}" + (f" · {named}" if named else ""))
    return "; ".join(parts)
