"""One run folder: tables, figures, the manifest, and what an interrupted run has computed."""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import io
import json
import math
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:  # matplotlib takes half a second to import, and a run may draw nothing
    from matplotlib.figure import Figure

try:
    import fcntl
except ImportError:  # Windows: no locks, two runs of one command must not share a folder
    fcntl = None

PARTIAL = ".partial"
PACKAGES = ("resanalysis", "torch", "torchvision", "numpy", "scipy", "pandas", "matplotlib")


class ResultsError(ValueError):
    """A run folder that cannot be written, or holds a manifest that cannot be read."""


class PartialStore:
    """Blocks of arrays by key, one ``.npz`` file each: what an interrupted run goes on from.

    A block that is truncated or damaged counts as missing and is computed again.

    Parameters
    ----------
    folder : made when the first block is put.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __len__(self) -> int:
        return len(list(self.folder.glob("*.npz")))

    def _path(self, key: str) -> Path:
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"

    def get(self, key: str) -> dict[str, NDArray[Any]] | None:
        """The arrays kept under ``key``, or ``None``."""
        path = self._path(key)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except FileNotFoundError:
            return None
        except (BadZipFile, EOFError, KeyError, OSError, ValueError):
            path.unlink(missing_ok=True)
            return None

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep ``arrays`` under ``key``.

        Raises
        ------
        ResultsError : if the block cannot be written; the blocks before it stay.
        """
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **dict(arrays))
        write_atomically(self._path(key), content.getvalue())


class Run:
    """One command's results in one ``--out`` folder; use it in a ``with`` statement.

    Commands may share a folder: each writes its own files and its own entry in ``manifest.json``.

    Parameters
    ----------
    out : folder, made where it does not exist.
    command : the stem of the files, such as ``lesion`` or ``lesion_many``.
    fresh : forget what an interrupted run of this command left.

    Raises
    ------
    ResultsError : if ``out`` is a file, cannot be written, holds a damaged manifest, or is in use
        by another run of the same command.
    """

    def __init__(self, out: Path | str, command: str, *, fresh: bool = False) -> None:
        self.out = Path(out)
        self.command = command
        self.files: list[Path] = []
        self._started = datetime.now(UTC)
        self._partial = self.out / PARTIAL / command
        self._made = not self.out.exists()
        if self.out.exists() and not self.out.is_dir():
            raise ResultsError(f"--out {self.out} is a file; name a folder")
        try:
            self._partial.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self._partial)
        except OSError as error:
            raise _cannot_write(self.out, error) from error
        if self._lock is None:
            raise ResultsError(
                f"another run of {command} is writing to {self.out}; wait for it, or name another "
                "folder with --out"
            )
        read_manifest(self.out)  # a damaged one is reported now, not after an hour's work
        if fresh:
            self._forget()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the folder; what was computed stays for the next run."""
        with suppress(OSError):
            self._partial.rmdir()  # only where it is empty
            self._partial.parent.rmdir()
            if self._made:
                self.out.rmdir()
        if self._lock is not None and self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def store(self, fingerprint: Mapping[str, Any]) -> PartialStore:
        """Where blocks of this computation are kept until it is finished.

        Parameters
        ----------
        fingerprint : what decides the numbers (model, data, options, seed), as JSON types. Blocks
            kept for another fingerprint are removed.
        """
        text = json.dumps(plain(dict(fingerprint)), sort_keys=True)
        folder = self._partial / hashlib.sha256(text.encode()).hexdigest()[:16]
        for other in self._partial.iterdir():
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
        return PartialStore(folder)

    def _forget(self) -> None:
        for folder in self._partial.iterdir():
            shutil.rmtree(folder, ignore_errors=True)

    def write_table(self, stem: str, frame: pd.DataFrame) -> Path:
        """Write ``STEM.csv``: shortest exact floats, exact integers, ``true`` and ``false``."""
        table = frame.copy(deep=False)
        for column in table.columns:
            table[column] = [_cell(value) for value in frame[column].to_numpy()]
        text = table.astype(object).to_csv(index=False, lineterminator="\n")
        return self._write(self.out / f"{stem}.csv", text.encode())

    def write_figure(self, stem: str, figure: Figure) -> tuple[Path, Path]:
        """Write ``STEM.pdf`` and ``STEM.png``."""
        from matplotlib import rc_context

        paths: list[Path] = []
        for kind, metadata in (("pdf", {"CreationDate": None}), ("png", {"Software": None})):
            content = io.BytesIO()
            with rc_context({"pdf.fonttype": 42}):  # fonts as text, as publishers ask
                figure.savefig(content, format=kind, dpi=300, metadata=metadata)
            paths.append(self._write(self.out / f"{stem}.{kind}", content.getvalue()))
        return paths[0], paths[1]

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file, such as ``report.html``."""
        return self._write(self.out / name, text.encode())

    def _write(self, path: Path, content: bytes) -> Path:
        write_atomically(path, content)
        self.files.append(path)
        return path

    def finish(
        self,
        *,
        options: Mapping[str, Any],
        seed: int | None = None,
        model_sha256: str | None = None,
        data_sha256: str | None = None,
        n: int | None = None,
        timings: Mapping[str, float] | None = None,
        view: Mapping[str, Any] | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Record the run in ``manifest.json`` and remove its partial results.

        Parameters
        ----------
        options : the command's options as the user gave them or as they were by default.
        n : number of examples.
        timings : seconds by phase.
        view : the unraveled view in brief.
        facts : what a figure's caption states: batch-norm mode, transitions, draws.
        """
        entry = {
            "command": self.command,
            "options": options,
            "seed": seed,
            "model_sha256": model_sha256,
            "data_sha256": data_sha256,
            "n": n,
            "timings": timings,
            "view": view,
            "facts": facts,
            "files": [path.name for path in self.files],
            "versions": versions(),
            "started": self._started.isoformat(timespec="seconds"),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        merge_manifest(self.out, self.command, entry)
        self._forget()


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
        raise ResultsError(f"cannot read {path}: {_reason(error)}") from error
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


def merge_manifest(out: Path, command: str, entry: Mapping[str, Any]) -> None:
    """Put one command's entry into ``manifest.json``; the entries of other commands stay."""
    lock = _locked(out, wait=True)
    try:
        manifest = {**read_manifest(out), command: plain(entry)}
        text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_atomically(out / "manifest.json", text.encode())
    finally:
        if lock is not None and lock >= 0:
            os.close(lock)


def json_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as JSON types; integers stay exact, missing numbers are ``None``."""
    columns = [str(column) for column in frame.columns]
    rows = zip(*(frame[column].to_numpy() for column in frame.columns), strict=True)
    return [dict(zip(columns, map(plain, row), strict=True)) for row in rows]


def plain(value: Any) -> Any:
    """A value in JSON types; NaN and infinities become ``None``."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in cast("list[Any]", value)]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        # repr is the shortest text of a single-precision number: 0.1, not 0.10000000149011612
        return plain(float(str(value)) if isinstance(value, np.floating) else value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)


def _cell(value: Any) -> Any:
    """A value as CSV text: ``true``, ``1 5 9``, ``0.1``, or nothing for a missing number."""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (list, tuple, np.ndarray)):
        return " ".join(str(_cell(item)) for item in cast("list[Any]", value))
    if isinstance(value, (float, np.floating)):
        return "" if math.isnan(value) else str(value)
    return "" if value is None or value is pd.NA else str(value)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader finds the old content or the new one, never a part.

    Raises
    ------
    ResultsError : if it cannot be written; what was there stays.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"
        )
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise _cannot_write(path, error) from error
        raise


def _umask() -> int:
    """The process's file mode mask; reading it means setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _cannot_write(path: Path, error: OSError) -> ResultsError:
    remedy = {
        errno.ENOSPC: "free some space and run the same command again, it goes on where it stopped",
        errno.EDQUOT: "free some space and run the same command again, it goes on where it stopped",
        errno.EACCES: "name a folder you may write to with --out",
        errno.EROFS: "name a folder you may write to with --out",
    }.get(error.errno or 0, "what was there before is not changed")
    return ResultsError(f"cannot write {path}: {_reason(error)}; {remedy}")


def _locked(folder: Path, *, wait: bool = False) -> int | None:
    """A descriptor that locks ``folder`` until it is closed; ``None`` where another run has it."""
    if fcntl is None:
        return -1
    while True:
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError:  # a file system without locks
            return handle
        # a run that finished between open and lock has removed the folder this descriptor is of
        with suppress(FileNotFoundError):
            if os.stat(folder).st_ino == os.fstat(handle).st_ino:
                return handle
        os.close(handle)
        folder.mkdir(parents=True, exist_ok=True)
