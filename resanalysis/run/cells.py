"""One value of a table as JSON and as CSV."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pandas as pd


def json_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as JSON types; integers stay exact, missing numbers are ``None``."""
    columns = [str(column) for column in frame.columns]
    rows = zip(*(frame[column].to_numpy() for column in frame.columns), strict=True)
    return [dict(zip(columns, map(plain, row), strict=True)) for row in rows]


def plain(value: Any) -> Any:
    """A value in JSON types; NaN and infinities become ``None``."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in cast("list[Any]", value)]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        # repr is the shortest text of a single-precision number: 0.1, not 0.10000000149011612
        return plain(float(str(value)) if isinstance(value, np.floating) else value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)


def cell(value: Any) -> Any:
    """A value as CSV text: ``true``, ``1 5 9``, ``0.1``, or nothing for a missing number."""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (list, tuple, np.ndarray)):
        return " ".join(str(cell(item)) for item in cast("list[Any]", value))
    if isinstance(value, (float, np.floating)):
        return "" if math.isnan(value) else str(value)
    return "" if value is None or value is pd.NA else str(value)
