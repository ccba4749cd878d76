"""The error that is the user's, told apart from our own mistakes by its type; text that is safe to print."""

from __future__ import annotations

import errno
import reprlib
import traceback
from collections.abc import Sequence
from pathlib import Path

_LONGEST = 2000


class _Brief(reprlib.Repr):
    """``repr`` of bounded depth and width: a list that holds itself twice, forty times over, ends."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, 60, 60

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write out a number of thousands of digits.
        return repr(x) if x.bit_length() < 200 else f"a whole number of {x.bit_length()} bits"


_BRIEF = _Brief()


def printable(text: str, most: int = _LONGEST) -> str:
    """A text on one line, what a terminal would obey or hide written as ``\\x1b``, cut in its middle.

    Parameters
    ----------
    text : anything, such as a name that a file holds.
    most : characters that are kept, of the text as it is returned.
    """
    if len(text) > 2 * most:  # before the characters are looked at one by one
        text = f"{text[:most]}{text[-most:]}"
    escaped = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
    if len(escaped) <= most:
        return escaped
    end = (most - 1) // 2
    return f"{escaped[: most - 1 - end]}…{escaped[len(escaped) - end :]}"


def shown(value: object, most: int = 60) -> str:
    """A value of a file nobody vouches for, in at most ``most`` characters; texts without quotes."""
    return printable(value, most) if isinstance(value, str) else quoted(value, most)


def quoted(value: object, most: int = 60) -> str:
    """``shown``, with texts as they stand in source."""
    return printable(_BRIEF.repr(value), most)


def raised(error: BaseException, file: str | None = None) -> str:
    """What a user's own code raised and where, as the end of a traceback: ``KeyError: 'x' (m.py, line 6: …)``.

    Parameters
    ----------
    file : the user's; its innermost line is named, and not one of a library that it calls.
    """
    text = text_of(error)
    said = f"{type(error).__name__}: {text.splitlines()[0][:200]}" if text else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in frames if not frame.filename.startswith("<frozen")]  # Python's own
    frames = [frame for frame in frames if file is None or frame.filename == file] or frames
    if not frames:
        return said
    last = frames[-1]
    line = shown((last.line or "").strip(), 80)
    return f"{said} ({Path(last.filename).name}, line {last.lineno}{f': {line}' if line else ''})"


class ResanalysisError(ValueError):
    """What a user asked for cannot be done; the text says what, where, what was found and what to do.

    Every check of ours raises it. Whatever else reaches the command line is a bug of ours and is
    reported as one. Much of the text comes out of files, so it is made printable here, where nothing can
    forget it.
    """

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))


def check_names(what: str, given: Sequence[str], there: Sequence[str]) -> None:
    """Refuse names that do not exist, none at all, and names given twice.

    Raises
    ------
    ResanalysisError : naming them and what there is.
    """
    unknown = [name for name in given if name not in there]
    if unknown or not given:
        raise ResanalysisError(
            f"no {what} {', '.join(map(repr, unknown)) or 'named'}; there are {', '.join(there)}"
        )
    if len(set(given)) < len(given):
        raise ResanalysisError(f"each {what} is named once, got {', '.join(given)}")


class LeftOutError(ResanalysisError):
    """Something that a command needs was neither given nor recorded: a usage error, exit code 2."""


class ResultsError(ResanalysisError):
    """A file or run folder that cannot be written, or a manifest that cannot be read."""


def reason(error: Exception) -> str:
    """What an error says, without the path that Python puts into it a second time."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


def cannot_write(path: Path, error: OSError) -> ResultsError:
    remedy = {
        errno.ENOSPC: "free some space and run the same command again, it goes on where it stopped",
        errno.EDQUOT: "free some space and run the same command again, it goes on where it stopped",
        errno.EACCES: "name a folder you may write to with --out",
        errno.EROFS: "name a folder you may write to with --out",
    }.get(error.errno or 0, "what was there before is not changed")
    return ResultsError(f"cannot write {path}: {reason(error)}; {remedy}")


def text_of(error: BaseException) -> str:
    """What an error says, whatever its class does when asked."""
    try:
        return str(error).strip()
    except Exception:  # a class of a user's own may fail here too
        return "its text cannot be read"


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a GPU or on the CPU, for which torch has no type of its own."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = (
        "DefaultCPUAllocator",
        "can't allocate memory",
        "Cannot allocate memory",
        "not enough memory",
        "std::bad_alloc",
        "failed to map segment",  # a library of torch's, under a limit of the system
    )
    kinds = (RuntimeError, OSError, ImportError)
    return isinstance(error, kinds) and any(word in text_of(error) for word in words)
