"""What the steps of a study found, beside what was recorded when the study was written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from resanalysis.run.manifest import read_manifest
from resanalysis.run.study import Arms, StudyError
from resanalysis.statistics.equivalence import equivalence

CONDITIONS = ("model_sha256", "data_sha256")
"""Recorded with the numbers: of another model or other data they say nothing."""

COLUMNS = ["step", "quantity", "recorded", "found", "within", "same"]


def comparison(
    step: str, expected: Mapping[str, Any], out: Path, rtol: float = 1e-3
) -> pd.DataFrame:
    """What a finished step found beside what the study recorded.

    Parameters
    ----------
    expected : a value by quantity; or ``value`` and ``within``, how far off the number may be. A quantity is a
        fact by its dotted path (``distance.0.median_ratio``), or ``COLUMN[COLUMN=VALUE, …]``: the mean of a
        column of the step's tables over the rows that have these values.
    out : the step's folder.
    rtol : relative tolerance of numbers without a ``within``.

    Returns
    -------
    DataFrame : ``step``, ``quantity``, ``recorded``, ``found``, ``within``, ``same``; the last is empty where
        the numbers are of another model or other data than the recorded ones.
    """
    entries = read_manifest(out)
    facts: dict[str, Any] = {}
    for entry in entries.values():
        facts |= entry.get("facts") or {}
    # Digests may be recorded by their first digits.
    comparable = all(
        str(entry.get(name)).startswith(str(expected[name]))
        for entry in entries.values()
        for name in CONDITIONS
        if name in expected
    )
    rows: list[dict[str, Any]] = []
    for name, recorded in expected.items():
        if name in CONDITIONS:
            continue
        value, within = recorded, None
        if isinstance(recorded, Mapping):
            value, within = recorded["value"], recorded["within"]
        found = table_mean(out, name) if name.endswith("]") else found_of(facts, name)
        same = _same(value, found, rtol, within) if comparable else None
        rows.append(dict(zip(COLUMNS, (step, name, value, found, within, same), strict=True)))
    return pd.DataFrame(rows, columns=COLUMNS)


def found_of(facts: Mapping[str, Any], name: str) -> Any:
    """A fact by its dotted path, such as ``distance.0.median_ratio``; ``None`` if there is none."""
    found: Any = facts
    for part in name.split("."):
        if isinstance(found, Mapping):
            found = found.get(part)
        elif isinstance(found, Sequence) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        else:
            return None
    return found


def table_mean(out: Path, name: str) -> float | None:
    """``error[unit=3, model=vgg]``: mean of a column over rows, in the first table that has the columns.

    Returns
    -------
    float, or ``None`` if no table of the folder has such columns and rows, or no number there.
    """
    parts = re.fullmatch(r"(\w+)\[(.*)\]", name)
    if parts is None:
        return None
    column = parts[1]
    pairs = [text.strip().partition("=") for text in parts[2].split(",")]
    wanted = {key: value for key, _, value in pairs}
    for path in sorted(out.glob("*.csv")):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if not {column, *wanted} <= set(table.columns):
            continue
        for key, value in wanted.items():
            table = table[table[key] == value]
        if len(table):
            # A cell is empty where a row has no such number.
            values: Any = pd.to_numeric(table[column], errors="coerce")
            return None if values.isna().all() else float(values.mean())
    return None


def _same(one: Any, other: Any, rtol: float, within: float | None) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(
            _same(a, b, rtol, within) for a, b in zip(one, other, strict=True)
        )
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        allowed = rtol * max(abs(one), abs(other)) if within is None else within
        return abs(one - other) <= allowed
    return one == other


def equivalences(arms: Sequence[Arms], out: Path) -> pd.DataFrame:
    """Of every two arms whose trainings are all there: whether their means are equal within the margin.

    Parameters
    ----------
    out : the study's folder, a folder in it for each step.

    Returns
    -------
    DataFrame : ``name``, ``quantity``, ``margin``, and what ``statistics.equivalence`` says.

    Raises
    ------
    StudyError : if a training recorded no such number.
    """
    rows: list[dict[str, Any]] = []
    for pair in arms:
        if all((out / step / "manifest.json").is_file() for step in (*pair.one, *pair.other)):
            one, other = (
                [_number(out / step, pair.quantity) for step in steps]
                for steps in (pair.one, pair.other)
            )
            result = equivalence(one, other, pair.margin)
            said = {"name": pair.name, "quantity": pair.quantity, "margin": pair.margin}
            rows.append(said | result.row())
    return pd.DataFrame(rows)


def _number(out: Path, name: str) -> float:
    for entry in read_manifest(out).values():
        found = found_of(entry.get("facts") or {}, name)
        if isinstance(found, (int, float)):
            return float(found)
    raise StudyError(f"{out} records no number {name}")
