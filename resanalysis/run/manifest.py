"""``manifest.json``: what made every file of a run folder."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from resanalysis.errors import ResultsError, quoted, reason, shown
from resanalysis.run.atomic import (
    locked,
    remove_left_over,
    write_atomically,
)
from resanalysis.run.cells import plain

PACKAGES = ("resanalysis", "torch", "torchvision", "numpy", "scipy", "pandas", "matplotlib")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def read_manifest(out: Path) -> dict[str, Any]:
    """The entries of ``manifest.json`` by command; empty where there is none.

    Raises
    ------
    ResultsError : if the file is there and is no manifest, or an entry is not as we write it.
    """
    path = out / "manifest.json"
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for, without end
            raise ResultsError(f"{path} is not a file: move it away or name another --out")
        manifest: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ResultsError(f"cannot read {path}: {reason(error)}") from error
    except RecursionError:
        raise _damaged(path, "its brackets are nested too deeply") from None
    except ResultsError:
        raise
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(manifest, dict):
        raise ResultsError(
            f"{path} holds a {type(manifest).__name__}, not the entries of a run folder: move it "
            "away or name another --out"
        )
    for command, entry in cast("dict[str, Any]", manifest).items():
        wrong = _wrong(entry)
        if wrong:
            raise _damaged(path, f"the entry of {shown(command)}: {wrong}")
    return cast("dict[str, Any]", manifest)


def _damaged(path: Path, why: str) -> ResultsError:
    return ResultsError(
        f"{path} is damaged ({why}); the tables beside it are not touched: move it away and run again"
    )


def _wrong(entry: Any) -> str | None:
    """What is not as we write it, of all that is read again; ``None`` if nothing is."""
    if not isinstance(entry, dict):
        return f"a {type(entry).__name__} and not an object"
    fields = cast("dict[str, Any]", entry)
    for field, kind, said in (
        ("files", list, "a list"),
        ("sha256", dict, "an object"),
        ("facts", dict, "an object"),
    ):
        if not isinstance(fields.get(field) or kind(), kind):
            return f"{field} is {quoted(fields[field])} and not {said}"
    for name in (*(fields.get("files") or ()), *(fields.get("sha256") or ())):
        # Another name would have a file read that no command of ours has written.
        if not isinstance(name, str) or Path(name).is_absolute() or ".." in Path(name).parts:
            return f"it names {quoted(name)}, which is no file of this folder"
    return None


def damaged(out: Path) -> list[str]:
    """What is wrong with the files of a run folder: a few words for each that is missing or changed."""
    wrong: list[str] = []
    for command, entry in read_manifest(out).items():
        digests = entry.get("sha256") or {}
        for name in dict.fromkeys((*(entry.get("files") or ()), *digests)):
            path = out / name
            if not path.is_file():
                wrong.append(f"{command}: {name} is missing")
            elif name not in digests:
                wrong.append(f"{command}: {name} has no sha256 in manifest.json")
            elif _digest(path) != digests[name]:
                wrong.append(f"{command}: {name} is not the file that was written")
    return wrong


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def merge_manifest(out: Path, command: str, entry: Mapping[str, Any]) -> None:
    """Put one command's entry into ``manifest.json``; the entries of other commands stay."""
    # Reading and writing are one thing: two commands that end together in one folder would each leave the
    # other's entry out.
    lock = locked(out, wait=True)
    try:
        remove_left_over(out / "manifest.json")
        manifest = {**read_manifest(out), command: plain(entry)}
        text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_atomically(out / "manifest.json", text.encode())
    finally:
        if lock is not None and lock >= 0:
            os.close(lock)
