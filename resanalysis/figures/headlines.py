"""The few numbers that say what a table found, for the terminal and for the report."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from resanalysis.figures.words import Headlines

if TYPE_CHECKING:
    import pandas as pd

STEMS = (
    "inspect",
    "lesion",
    "lesion_many",
    "reorder",
    "rearrange",
    "paths",
    "gradients",
    "unit_share",
    "response",
    "stream",
    "prune",
    "history",
)
"""Tables with a module here that holds their headline numbers, title and how to read them."""


def headlines(stem: str, frame: pd.DataFrame) -> Headlines:
    """Headline numbers of the table ``STEM.csv``; of a table we know nothing about, its size."""
    if stem not in STEMS:
        return [("rows", str(len(frame)))]
    return import_module(f"resanalysis.figures.{stem}").headlines(frame)


__all__ = ["STEMS", "Headlines", "headlines"]
