"""Tensors as one file that is whole or not there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from resanalysis.errors import cannot_write


def save_tensors(content: Any, path: Path) -> None:
    """``torch.save`` under another name, which then takes the old file's place.

    Raises
    ------
    ResultsError : if it cannot be written; what was there stays.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        refused = _refused(error)
        if refused is not None:
            raise cannot_write(path, refused) from error
        raise


def _refused(error: BaseException | None) -> OSError | None:
    """What the system said, which torch's writer hides behind words of its own about positions."""
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error
