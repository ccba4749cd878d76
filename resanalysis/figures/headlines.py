"""The few numbers that say what a table found, for the terminal and for the report."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from resanalysis.figures.words import Headlines

if TYPE_CHECKING:
    import pandas as pd


def headlines(stem: str, frame: pd.DataFrame) -> Headlines:
    """Headline numbers of the table ``STEM.csv``; of a table we know nothing about, its size."""
    name = f"resanalysis.figures.tables.{stem.rpartition(': ')[2]}"
    if find_spec(name) is None:
        return [("rows", str(len(frame)))]
    return import_module(name).headlines(frame)
