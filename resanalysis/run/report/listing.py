"""A table inside the page: what is the same in every row said once, numbers in four digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from resanalysis.run.report.words import name_of, short

# Characters of a table's cells: with them and its figures, a page of all experiments stays below 5 MB.
MOST_CHARACTERS = 120_000
# Texts longer than this are cut: names of units are shorter, lists of deleted units are not.
_LONGEST = 48


@dataclass(frozen=True)
class Listing:
    """A table as the page shows it.

    Attributes
    ----------
    file : it is all in.
    columns : names as in the file, with what they mean in words where that is not the same.
    numeric : of each column, whether it sorts as a number.
    rows : texts.
    same : columns that have one value in all rows, and the value.
    total : rows in the file; more than ``rows`` has only where they are too many for a page.
    """

    file: str
    columns: list[tuple[str, str]]
    numeric: list[bool]
    rows: list[list[str]]
    same: list[tuple[str, str]]
    total: int


def listed(stem: str, frame: pd.DataFrame) -> Listing:
    """A table for the page; without its rows, never with some of them, where they are too many."""
    table = frame.dropna(axis="columns", how="all")
    constant = [n for n in table if len(table) > 1 and len(set(map(str, table[n]))) == 1]
    varying = table.drop(columns=constant)
    numeric = [varying[name].dtype.kind in "iuf" for name in varying]
    rows = [
        [_text(value) for value in row]
        for row in varying.astype(object).itertuples(index=False, name=None)
    ]
    size = sum(len(text) + 4 for row in rows for text in row)
    return Listing(
        file=f"{stem}.csv",
        columns=[(str(name), name_of(str(name))) for name in varying],
        numeric=numeric,
        rows=rows if size <= MOST_CHARACTERS else [],
        same=[(str(name), _text(table[name].iloc[0])) for name in constant],
        total=len(frame),
    )


def _text(value: Any) -> str:
    text = short(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
