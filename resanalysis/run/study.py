"""The papers in studies/: commands with placeholders for files a user has, and the numbers they gave."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from typing import Any

import pandas as pd

from resanalysis.errors import ResanalysisError
from resanalysis.run.manifest import read_manifest
from resanalysis.run.study_trust import check_steps

FILE = "study.toml"


class StudyError(ResanalysisError):
    """A study that cannot be read or run: what is wrong and where."""


@dataclass(frozen=True)
class Step:
    """One command of a study, its words with ``{placeholders}``."""

    name: str
    command: str
    expected: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def words(self, values: Mapping[str, str]) -> list[str]:
        """The command's words after ``resanalysis``, with the user's files filled in.

        Raises
        ------
        StudyError : naming a placeholder that nothing was given for.
        """
        missing = sorted(names_in(self.command) - values.keys())
        if missing:
            raise StudyError(f"step {self.name} needs --set {missing[0]}=…")
        return [word.format(**values) for word in shlex.split(self.command)[1:]]


@dataclass(frozen=True)
class Study:
    """What ``study.toml`` says: the paper, what it needs, and the steps in order."""

    folder: Path
    title: str
    authors: str
    venue: str
    figures: tuple[str, ...]
    needs: Mapping[str, str]
    steps: tuple[Step, ...]


def names_in(text: str) -> set[str]:
    """The placeholders of a command."""
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def read_study(folder: Path) -> Study:
    """Read ``study.toml`` of a folder.

    Raises
    ------
    StudyError : if there is none, or it lacks something.
    """
    path = folder / FILE
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        there = [study.folder.name for study in studies(folder.parent)]
        raise StudyError(
            f"{folder} holds no {FILE}; there are {', '.join(there) or 'no studies beside it'}"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise StudyError(f"{path}: {error}") from None
    check_steps(content, path)
    try:
        expected = content.get("expected", {})
        steps = tuple(
            Step(str(run["name"]), str(run["command"]), expected.get(run["name"], {}))
            for run in content["run"]
        )
        study = Study(
            folder=folder,
            title=str(content["title"]),
            authors=str(content["authors"]),
            venue=str(content["venue"]),
            figures=tuple(str(figure) for figure in content["figures"]),
            needs={str(key): str(value) for key, value in content["needs"].items()},
            steps=steps,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise StudyError(f"{path} lacks or misspells {error}") from None
    for step in study.steps:
        unknown = names_in(step.command) - study.needs.keys()
        if unknown or not step.command.startswith("resanalysis "):
            what = f"uses {{{min(unknown)}}}, which [needs] does not have" if unknown else ""
            raise StudyError(f"{path}: step {step.name} {what or 'is no resanalysis command'}")
    return study


def studies(folder: Path) -> list[Study]:
    """The studies in the folders of a folder, by name."""
    return [read_study(path.parent) for path in sorted(folder.glob(f"*/{FILE}"))]


def comparison(step: Step, out: Path, rtol: float = 1e-3) -> pd.DataFrame:
    """What a finished step found beside what the study recorded.

    Returns
    -------
    DataFrame : ``step``, ``quantity``, ``recorded``, ``found``, ``same`` (numbers within ``rtol``).
    """
    facts: dict[str, Any] = {}
    for entry in read_manifest(out).values():
        facts |= entry.get("facts") or {}
    return pd.DataFrame(
        [
            {
                "step": step.name,
                "quantity": name,
                "recorded": recorded,
                "found": found_of(facts, name),
                "same": _same(recorded, found_of(facts, name), rtol),
            }
            for name, recorded in step.expected.items()
        ],
        columns=["step", "quantity", "recorded", "found", "same"],
    )


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


def _same(one: Any, other: Any, rtol: float) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(
            _same(a, b, rtol) for a, b in zip(one, other, strict=True)
        )
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return abs(one - other) <= rtol * max(abs(one), abs(other))
    return one == other
