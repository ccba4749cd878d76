"""What a study of a stranger may say: checked as it is read, and what runs code only where the user agrees."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import Any

from resanalysis.errors import ResanalysisError, shown

_NAME = re.compile(r"[\w-]{1,100}")
_PLACEHOLDER = re.compile(r"\w{1,100}")


def check_steps(content: Mapping[str, Any], path: Path) -> None:
    """Refuse what no study needs, and what one made to harm would say.

    The name of a step is the name of its folder, so it is no path. A placeholder is a name alone: a width,
    ``{data:>3000000000}``, would ask for memory. A step is no study, which could be this one.

    Parameters
    ----------
    content : of ``study.toml``.

    Raises
    ------
    ResanalysisError : naming the step and what is wrong with it.
    """
    steps = content.get("run", [])
    if not isinstance(steps, list) or not all(isinstance(step, Mapping) for step in steps):
        raise ResanalysisError(f"{path}: its steps are to be [[run]] tables, found {shown(steps)}")
    names: set[str] = set()
    for step in steps:
        name, command = str(step.get("name", "")), str(step.get("command", ""))
        wrong = _wrong_name(name, names) or _wrong_command(command)
        if wrong:
            raise ResanalysisError(f"{path}: step {shown(name)} {wrong}")
        names.add(name)
    for key in ("needs", "expected"):
        _check_tables(content.get(key, {}), key, path)


def _wrong_name(name: str, before: set[str]) -> str:
    if not _NAME.fullmatch(name):
        return "needs a name of letters, digits, _ and -, since a folder is called after it"
    return "has the name of a step before it" if name in before else ""


def _wrong_command(command: str) -> str:
    try:
        parts = list(Formatter().parse(command))
    except ValueError as error:
        return f"has braces that are no {{placeholder}}: {error}"
    for _, name, width, conversion in parts:
        if name is not None and (width or conversion or not _PLACEHOLDER.fullmatch(name)):
            return f"writes {{{shown(name)}}} with more than a name of letters, digits and _ in it"
    if command.split()[1:2] == ["study"]:
        return "runs a study: a study's steps are other commands"
    return ""


def _check_tables(found: object, name: str, path: Path) -> None:
    """``[needs]`` and ``[expected.STEP]`` are tables, as far as anything reads them as tables."""
    if not isinstance(found, Mapping):
        raise ResanalysisError(f"{path}: {name} is to be a table, [{name}], found {shown(found)}")
    for key, value in found.items() if name == "expected" else ():
        if not isinstance(value, Mapping):
            raise ResanalysisError(
                f"{path}: expected.{shown(key)} is to be a table, [expected.{shown(key)}], found "
                f"{shown(value)}"
            )


def code_in(words: Sequence[str]) -> str | None:
    """What in a command runs code that is neither ours nor torch's; ``None`` if nothing does."""
    for word in words:
        option, _, value = word.partition("=")
        if option in ("--trust-pickle", "--metric"):
            return option
        if word.startswith("python:") or value.startswith("python:"):  # LABEL=python:… too
            return "python:"
    return None


def require_trust(lines: Mapping[str, Sequence[str]], trusted: bool) -> None:
    """Refuse the steps that run code, unless the user said that they may.

    Parameters
    ----------
    lines : the words of each step by its name, as the study has them: what the user filled in is the user's.

    Raises
    ------
    ResanalysisError : naming the first such step.
    """
    for name, words in lines.items():
        code = None if trusted else code_in(words)
        if code is not None:
            raise ResanalysisError(
                f"step {name} runs code of others ({code}): read the study and that code, and if you trust "
                "them, add --trust-study"
            )
