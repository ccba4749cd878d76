"""What was given on a command line, as words of another one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from enum import Enum
from typing import Annotated, Any, get_args, get_origin, get_type_hints


def said(group: Any, without: Collection[str] = ()) -> tuple[str, ...]:
    """The options of a dataclass of options that are not as they are by default.

    Parameters
    ----------
    without : fields to leave out.
    """
    hints = get_type_hints(type(group), include_extras=True)
    words: list[str] = []
    for field in fields(group):
        value = getattr(group, field.name)
        if field.name in without or value == field.default:
            continue
        words.append(_flag(field.name, hints[field.name]))
        if value is not True:
            words.append(str(value.value if isinstance(value, Enum) else value))
    return tuple(words)


def _flag(name: str, hint: Any) -> str:
    """The long name of an option: what its declaration says, else ``--name``."""
    info: Any = get_args(hint)[1] if get_origin(hint) is Annotated else None
    # Inside Annotated the first name of an option is where its default would be.
    declared = () if info is None else (info.default, *(info.param_decls or ()))
    long = [word for word in declared if isinstance(word, str) and word.startswith("--")]
    return long[0] if long else f"--{name.replace('_', '-')}"
