"""How numbers are put into words, for the terminal and for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Headlines = list[tuple[str, str]]
"""Pairs of a label and its value, in the order to read them."""


def column(frame: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """A column as floats; whole numbers of any size, and what a file left empty, too."""
    return np.asarray(frame[name], dtype=np.float64)


def percent(rate: Any) -> str:
    """A fraction in percent, with two digits behind the point."""
    return f"{100 * float(rate):.2f} %"
