"""How numbers are put into words, for the terminal and for the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Headlines = list[tuple[str, str]]
"""Pairs of a label and its value, in the order to read them."""


@dataclass(frozen=True)
class Finding:
    """One thing that a table says, for the first screen of a report.

    Attributes
    ----------
    text : a plain sentence with its number.
    evidence : the number's interval, and what it is over.
    """

    text: str
    evidence: str


def column(frame: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """A column as floats; whole numbers of any size, and what a file left empty, too."""
    return np.asarray(frame[name], dtype=np.float64)


def percent(rate: Any) -> str:
    """A fraction in percent, with two digits behind the point."""
    return f"{100 * float(rate):.2f} %"


def between(low: Any, high: Any, scale: float = 100, unit: str = "points") -> str:
    """A 95 % interval of a change in words: ``95 %: −0.50 to +1.25 points``."""
    ends = [f"{scale * float(end):+.2f}".replace("-", "−") for end in (low, high)]
    return f"95 %: {ends[0]} to {ends[1]} {unit}"


def counted(number: int, what: str) -> str:
    """``1 unit``, ``2 units``."""
    return f"{number} {what}" + ("" if number == 1 else "s")


def examples(frame: pd.DataFrame) -> str:
    """``N = 2,000``, where the table says on how many examples it was measured."""
    number = frame.attrs.get("n")
    return f"N = {int(number):,}" if number else ""
