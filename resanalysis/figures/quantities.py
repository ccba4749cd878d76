"""Quantities other than the error in words: of detections, segmentations, and a user's own metric."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from resanalysis.figures.style import measured, metric_label
from resanalysis.figures.words import Headlines, column


def without_error(frame: pd.DataFrame) -> bool:
    """Whether the table has rows, and an error in none of them."""
    return bool(len(frame)) and bool(np.isnan(column(frame, "error")).all())


def lesion_headlines(frame: pd.DataFrame) -> Headlines:
    """The intact network's quantity, the middle of the lesions, and the three that change it most."""
    name = measured(frame, None)
    label = metric_label(name)
    records: Any = frame.sort_values("unit").to_dict("records")
    intact, *units = records
    rows: Headlines = [(f"intact: {label}", _with_interval(intact, name))]
    deleted = [row for row in units if row[name] == row[name]]  # NaN: cannot be deleted
    if not deleted:
        return rows
    rows.append(("median, one unit deleted", f"{np.median([row[name] for row in deleted]):.4g}"))
    change = f"{name}_delta" if f"{name}_delta" in intact else name
    worst = sorted(deleted, key=lambda row: -abs(row[change] - intact[change]))[:3]
    return rows + [
        (f"without {row['unit']} ({row['name']})", _with_change(row, name, change)) for row in worst
    ]


def draws_headlines(frame: pd.DataFrame) -> Headlines:
    """The intact network's quantity, and the median over draws with fewest and most units deleted."""
    name = measured(frame, None)
    rows: Headlines = [_intact(frame, name)]
    removed, values = column(frame, "removed"), column(frame, name)
    for size in sorted({removed.min(), removed.max()}):
        low, middle, high = np.quantile(values[removed == size], [0.25, 0.5, 0.75])
        quartiles = f"quartiles {low:.4g} to {high:.4g}; {np.sum(removed == size)} draws"
        rows.append((f"{size:.0f} deleted", f"median {middle:.4g}  ({quartiles})"))
    return rows


def orders_headlines(frame: pd.DataFrame) -> Headlines:
    """The intact network's quantity, and its range over the orders."""
    name = measured(frame, None)
    values = column(frame, name)[column(frame, "swaps") > 0]
    rows: Headlines = [_intact(frame, name)]
    if len(values):
        rows.append((f"{len(values)} orders", f"{values.min():.4g} to {values.max():.4g}"))
    return rows


def _intact(frame: pd.DataFrame, name: str) -> tuple[str, str]:
    known = "swaps" not in frame
    value = (
        frame[f"intact_{name}"].iloc[0] if known else frame.loc[frame["swaps"] == 0, name].iloc[0]
    )
    return f"intact: {metric_label(name)}", f"{value:.4g}"


def _with_interval(row: dict[str, Any], name: str) -> str:
    if f"{name}_low" not in row:
        return f"{row[name]:.4g}"
    return f"{row[name]:.4g}  (95 %: {row[f'{name}_low']:.4g} to {row[f'{name}_high']:.4g})"


def _with_change(row: dict[str, Any], name: str, change: str) -> str:
    if change == name:
        return _with_interval(row, name)
    ends = " to ".join(f"{row[f'{change}_{end}']:+.4g}" for end in ("low", "high"))
    return f"{row[name]:.4g}  ({row[change]:+.4g}: {ends})"
