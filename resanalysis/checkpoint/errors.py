"""What goes wrong with models."""

from __future__ import annotations

import re
from pathlib import Path

from resanalysis.errors import ResanalysisError, shown

_LONGEST = 160  # letters of another's message in one of ours


class CheckpointError(ResanalysisError):
    """A model that cannot be loaded: what was wrong, where, and what to do."""


def damaged(path: Path, field: str, wanted: str, found: object) -> CheckpointError:
    """What to say of a field of our own kind of checkpoint that is not as we write it."""
    what = "nothing" if found is None else f"{type(found).__name__} {shown(found)}"
    return CheckpointError(
        f"{path} is a damaged resanalysis checkpoint: its {field} should be {wanted}, found {what}"
    )


def first_line(error: BaseException) -> str:
    """The first line of an error's text, for the end of a message of ours."""
    text = re.sub(
        r"^\[enforce fail at [^\]]*\]\s*\.?\s*", "", str(error).strip()
    )  # torch's C++ lines
    lines = text.splitlines()
    line = lines[0] if lines else ""
    if not re.search("[a-z]", line):  # a KeyError's key says nothing alone
        return f"{type(error).__name__} {line}".strip()
    if len(line) > _LONGEST:
        line = line.partition(". ")[0]  # torch explains itself at length after the first sentence
    return line[:_LONGEST]
