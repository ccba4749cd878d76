"""Docstrings of this package as mkdocstrings reads them: numpy's sections, whose entries here have no type.

``name : description`` would be read as a name and its type. The type is in the signature, so the description
moves to a line of its own; and a last paragraph ``Source: …`` becomes a section, or it would be an entry.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_SECTION = re.compile(r"^(Parameters|Attributes|Returns|Raises|Yields)\n-+\n", re.M)
_ENTRY = re.compile(r"^(\S[^:\n]*) : (.*(?:\n .*)*)", re.M)
_NAMES = re.compile(r"[\w*]+(, [\w*]+)+")


def numpy_entries(text: str) -> str:
    """A docstring with every entry on a line of its own and its description below."""
    text = re.sub(r"^Source: (?=\S)", "Source\n------\n", text, flags=re.M)
    start = _SECTION.search(text)
    if start is None:
        return text
    return text[: start.start()] + _ENTRY.sub(_entries, text[start.start() :])


def _entries(found: re.Match[str]) -> str:
    """Names that share a description get it each: of one entry they would all have the first one's type."""
    names = found[1].split(", ") if _NAMES.fullmatch(found[1]) else [found[1]]
    return "\n".join(f"{name}\n    {found[2]}" for name in names)


class Docstrings(griffe.Extension):
    """Rewrites what mkdocstrings is about to read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = numpy_entries(obj.docstring.value)
