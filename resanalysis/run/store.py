"""What an interrupted run goes on from: finished blocks of arrays."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from resanalysis.run.atomic import write_atomically


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
        # Keys name routes and options, longer and in more characters than a file name may be.
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"

    def within(self, name: str) -> PartialStore:
        """A store of its own inside this one, for one of several parts of a run."""
        return PartialStore(self.folder / hashlib.sha256(name.encode()).hexdigest()[:16])

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
        write_atomically(self._path(key), content.getvalue(), every_process=True)
