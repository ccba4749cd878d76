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

from resanalysis.run.atomic import (
    ResultsError,
    locked,
    reason,
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
    ResultsError : if the file is there and is no manifest.
    """
    path = out / "manifest.json"
    try:
        manifest: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ResultsError(f"cannot read {path}: {reason(error)}") from error
    except ValueError as error:
        raise ResultsError(
            f"{path} is damaged ({error}); the tables beside it are not touched: move it away and "
            "run again"
        ) from error
    if not isinstance(manifest, dict):
        raise ResultsError(
            f"{path} holds a {type(manifest).__name__}, not the entries of a run folder: move it "
            "away or name another --out"
        )
    return cast("dict[str, Any]", manifest)


def damaged(out: Path) -> list[str]:
    """What is wrong with the files of a run folder: one sentence for each that is missing or changed.

    An entry written before files were digested says nothing of them.
    """
    wrong: list[str] = []
    for command, entry in read_manifest(out).items():
        for name, digest in (entry.get("sha256") or {}).items():
            path = out / name
            if not path.is_file():
                wrong.append(f"{command}: {name} is missing")
            elif hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                wrong.append(f"{command}: {name} is not the file that was written")
    return wrong


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
