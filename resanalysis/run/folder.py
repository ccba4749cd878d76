"""One run folder: tables, figures, the manifest, and what an interrupted run has computed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import warn

import pandas as pd

from resanalysis.errors import ResultsError, cannot_write
from resanalysis.ranks import of_the_first, ranks
from resanalysis.run.atomic import (
    locked,
    remove_left_over,
    write_together,
)
from resanalysis.run.cells import cell, plain
from resanalysis.run.manifest import merge_manifest, read_manifest, versions
from resanalysis.run.store import PartialStore

if TYPE_CHECKING:  # matplotlib takes half a second to import, and a run may draw nothing
    from matplotlib.figure import Figure

PARTIAL = ".partial"
MOST_ROWS = 10**6
"""Of a text file; more take minutes to write and to read."""


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
        self._kept: dict[Path, bytes] = {}
        self._stores: list[Path] = []
        self._started = datetime.now(UTC)
        self._partial = self.out / PARTIAL / command
        self._made = not self.out.exists()
        if self.out.exists() and not self.out.is_dir():
            raise ResultsError(f"--out {self.out} is a file; name a folder")
        self._lock = self._locked()
        read_manifest(self.out)  # a damaged one is reported now, not after an hour's work
        if fresh and ranks().first:
            _remove(self._partial.iterdir())
        of_the_first(None)  # no process of this run begins before what is old is gone

    def _locked(self) -> int:
        """The folder for this run alone; of several processes the first one holds it for all."""
        try:
            self._partial.mkdir(parents=True, exist_ok=True)
            if not ranks().first:
                return -1
            lock = locked(self._partial)
        except OSError as error:
            raise cannot_write(self.out, error) from error
        if lock is None:
            raise ResultsError(
                f"another run of {self.command} is writing to {self.out}; wait for it, or name another "
                "folder with --out"
            )
        return lock

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the folder; what was computed stays for the next run."""
        with suppress(OSError):
            # Each fails, and ends this, where something is left: an interrupted run, another command, results.
            self._partial.rmdir()  # only where it is empty
            self._partial.parent.rmdir()
            if self._made:
                self.out.rmdir()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def store(self, fingerprint: Mapping[str, Any]) -> PartialStore:
        """Where blocks of this computation are kept until it is finished.

        What an interrupted run with other options left stays beside it, until that is run again.

        Parameters
        ----------
        fingerprint : what decides the numbers (model, data, options, seed), as JSON types.
        """
        text = json.dumps(plain(dict(fingerprint)), sort_keys=True)
        folder = self._partial / hashlib.sha256(text.encode()).hexdigest()[:16]
        self._stores.append(folder)
        return PartialStore(folder)

    def keep_table(self, stem: str, frame: pd.DataFrame) -> Path:
        """Keep ``STEM.csv`` for the end: shortest exact floats, exact integers, ``true`` and ``false``.

        A table of more than a million rows is ``STEM.parquet`` instead, where pyarrow is installed.
        """
        if len(frame) > MOST_ROWS and _has_parquet(stem, len(frame)):
            return self.keep(
                f"{stem}.parquet", frame.to_parquet(None, engine="pyarrow", index=False)
            )
        table = frame.copy(deep=False)
        for column in table.columns:
            table[column] = [cell(value) for value in frame[column].to_numpy()]
        text = table.astype(object).to_csv(index=False, lineterminator="\n")
        return self.keep(f"{stem}.csv", text.encode())

    def keep_figure(self, stem: str, figure: Figure) -> tuple[Path, Path]:
        """Draw ``STEM.pdf`` and ``STEM.png`` and keep them for the end."""
        from matplotlib import rc_context

        paths: list[Path] = []
        for kind, metadata in (("pdf", {"CreationDate": None}), ("png", {"Software": None})):
            content = io.BytesIO()
            with rc_context({"pdf.fonttype": 42}):  # fonts as text, as publishers ask
                figure.savefig(content, format=kind, dpi=300, metadata=metadata)
            paths.append(self.keep(f"{stem}.{kind}", content.getvalue()))
        return paths[0], paths[1]

    def keep(self, name: str, content: bytes) -> Path:
        """Keep a file's content until ``finish`` writes all of them together."""
        path = self.out / name
        self._kept[path] = content
        if path not in self.files:
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
        """Write what was kept, record it in ``manifest.json``, and remove its partial results.

        Tables and figures replace the old ones only when all of them are on the disk, and the manifest has
        their sha256: a reader can tell a folder in which an old file stands beside a new one.

        Parameters
        ----------
        options : the command's options as the user gave them or as they were by default.
        n : number of examples.
        timings : seconds by phase.
        view : the unraveled view in brief.
        facts : what a figure's caption states: batch-norm mode, transitions, draws.
        """
        if not ranks().first:
            return
        for path in self._kept:
            # This run has the lock of its command, and so of these names.
            remove_left_over(path)
        write_together(self._kept)
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
            "sha256": {
                # Of what is on the disk, and not of what was meant to be.
                path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                for path in self.files
            },
            "versions": versions(),
            "started": self._started.isoformat(timespec="seconds"),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        merge_manifest(self.out, self.command, entry)
        # Last of all: whoever is killed before goes on from them.
        _remove(self._stores)


def _remove(folders: Iterable[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _has_parquet(stem: str, rows: int) -> bool:
    """Whether a large table can be written as Parquet; without pyarrow it is text, after a note."""
    if find_spec("pyarrow") is not None:
        return True
    warn(
        f"{stem}.csv has {rows:,} rows of text; with pyarrow installed (pip install "
        '"resanalysis[parquet]") it is the smaller and faster ' + f"{stem}.parquet",
        stacklevel=3,
    )
    return False
