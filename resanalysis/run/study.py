"""The papers in studies/: commands with placeholders for files a user has, and the numbers they gave."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from string import Formatter
from typing import Any

from resanalysis.errors import ResanalysisError
from resanalysis.run.study_trust import check_steps

FILE = "study.toml"
SCALES = ("small", "full")
OUT, STUDY = "out", "study"
"""Placeholders every study has: the folder of the results, in which ``{out}/STEP/…`` is what STEP wrote, and
the study's own folder, for the published curves in it."""


class StudyError(ResanalysisError):
    """A study that cannot be read or run: what is wrong and where."""


@dataclass(frozen=True)
class Step:
    """One command of a study, its words with ``{placeholders}``.

    Attributes
    ----------
    scales : at which it runs.
    expected : by scale, the numbers it gave and what they were recorded with.
    """

    name: str
    command: str
    scales: tuple[str, ...] = SCALES
    expected: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])

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

    def after(self) -> set[str]:
        """The steps whose files it reads."""
        return set(re.findall(r"\{out\}/([^/\s]+)/", self.command))


@dataclass(frozen=True)
class Arms:
    """Two ways of training, several seeds each, and how far apart their means may be and count as equal."""

    name: str
    one: tuple[str, ...]
    other: tuple[str, ...]
    quantity: str
    margin: float


@dataclass(frozen=True)
class Study:
    """What ``study.toml`` says: the paper, what it needs at each scale, and the steps in order."""

    folder: Path
    title: str
    authors: str
    venue: str
    figures: tuple[str, ...]
    needs: Mapping[str, Mapping[str, str]]
    steps: tuple[Step, ...]
    equivalence: tuple[Arms, ...] = ()

    def at(self, scale: str) -> list[Step]:
        """The steps of a scale."""
        return [step for step in self.steps if scale in step.scales]

    def values(self, scale: str) -> dict[str, str]:
        """What each placeholder of that scale is where the user gives nothing."""
        return {name: by[scale] for name, by in self.needs.items() if scale in by}


def names_in(text: str) -> set[str]:
    """The placeholders of a command."""
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def shipped_studies() -> Path:
    """The folder of the studies that come with the package; in a checkout it is ``studies/``."""
    return Path(str(files("resanalysis") / "studies"))


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
    except NotADirectoryError:
        raise StudyError(f"{folder} is a file; name the folder that holds {FILE}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise StudyError(f"{path}: {error}") from None
    check_steps(content, path)
    try:
        study = Study(
            folder=folder,
            title=str(content["title"]),
            authors=str(content["authors"]),
            venue=str(content["venue"]),
            figures=tuple(str(figure) for figure in content["figures"]),
            needs={str(key): _by_scale(value) for key, value in content["needs"].items()},
            steps=tuple(_step(run, content.get("expected", {})) for run in content["run"]),
            equivalence=tuple(_arms(arms) for arms in content.get("equivalence", [])),
        )
        wrong = [*_mistakes(study), *_numbers_of_nothing(study, content.get("expected", {}))]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StudyError(f"{path} lacks or misspells {error}") from None
    if wrong:
        raise StudyError(f"{path}: {wrong[0]}")
    return study


def _by_scale(value: Any) -> dict[str, str]:
    """What a placeholder is at each scale: one text for all, or a table of them."""
    by = value if isinstance(value, dict) else dict.fromkeys(SCALES, value)
    return {scale: str(by[scale]) for scale in SCALES if scale in by}


def _step(run: Mapping[str, Any], expected: Mapping[str, Any]) -> Step:
    name = str(run["name"])
    scales = tuple(run.get("scales", SCALES))
    recorded = {
        scale: dict(expected[scale][name]) for scale in scales if name in expected.get(scale, {})
    }
    return Step(name, str(run["command"]), scales, recorded)


def _arms(arms: Mapping[str, Any]) -> Arms:
    return Arms(
        str(arms["name"]),
        tuple(arms["one"]),
        tuple(arms["other"]),
        str(arms["quantity"]),
        float(arms["margin"]),
    )


def _mistakes(study: Study) -> list[str]:
    """What no step may say; a step reads what earlier ones of its scale wrote."""
    wrong: list[str] = []
    for step in study.steps:
        if not step.command.startswith("resanalysis "):
            wrong.append(f"step {step.name} is no resanalysis command")
        wrong += [
            f"step {step.name} runs at scale {scale}, which is none of {', '.join(SCALES)}"
            for scale in step.scales
            if scale not in SCALES
        ]
    for scale in SCALES:
        before: set[str] = set()
        for step in study.at(scale):
            for name in sorted(names_in(step.command) - study.values(scale).keys() - {OUT, STUDY}):
                wrong.append(f"step {step.name} uses {{{name}}}, which [needs] does not have")
            # In order, so that steps wait for those before them alone and never in a circle.
            for name in sorted(step.after() - before):
                wrong.append(f"step {step.name} reads what step {name} writes: no step before it")
            before.add(step.name)
    there = {step.name for step in study.steps}
    for arms in study.equivalence:
        for name in sorted({*arms.one, *arms.other} - there):
            wrong.append(f"equivalence {arms.name} compares step {name}, which there is none of")
    return wrong


def _numbers_of_nothing(study: Study, expected: Mapping[str, Any]) -> list[str]:
    """Recorded numbers that no step of their scale would be compared with."""
    wrong: list[str] = []
    for scale, steps in expected.items():
        there = {step.name for step in study.at(scale)}
        for name in sorted(steps.keys() - there):
            wrong.append(
                f"[expected.{scale}.{name}] is of no step: write [expected.SCALE.STEP], SCALE one of "
                f"{', '.join(SCALES)}"
            )
    return wrong


def studies(folder: Path) -> list[Study]:
    """The studies in the folders of a folder, by name."""
    return [read_study(path.parent) for path in sorted(folder.glob(f"*/{FILE}"))]
