"""Arrays in an ``.npz`` file: only those that are known, none larger than its header says."""

from __future__ import annotations

import math
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from resanalysis.datasets.errors import DataError
from resanalysis.errors import ResanalysisError, reason, shown

_ONE_ARRAY = b"\x93NUMPY"
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class _PickleError(ValueError):
    """An array of Python objects, which numpy stores as a pickle: its name."""


def read_npz(
    path: Path, wanted: Sequence[str], known: Sequence[str]
) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """The arrays of an ``.npz`` file, and the names of all that it holds.

    Parameters
    ----------
    wanted : names that must be there.
    known : names that are read; what else the file holds costs nothing, however large it is.

    Raises
    ------
    DataError : if the file cannot be read, holds a pickle under a known name, or lacks a wanted array.
    """
    arrays, names = _readable(path, known)
    missing = [name for name in wanted if name not in arrays]
    if missing:
        there = ", ".join(shown(name) for name in names) or "none"
        raise DataError(f"{path} has no array {' or '.join(missing)}; it has {there}")
    return arrays, names


def _readable(path: Path, known: Sequence[str]) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    if path.is_dir():
        raise DataError(
            f"{path} is a folder; one with a folder of images per class is folder:{path}"
        )
    if not path.is_file():
        raise DataError(
            f"there is no file {path}; data are an .npz file, or bundled:NAME, folder:DIR, "
            "fashion-mnist:DIR, cifar10:DIR, tokens:FILE, text:FILE"
        )
    try:
        return _read(path, known)
    except _PickleError as error:
        raise DataError(
            f"{path}: its array {error} is a pickle of Python objects, which could run code; it was "
            "not read. Save numbers with numpy.savez"
        ) from None
    except MemoryError:
        raise DataError(
            f"{path} needs more memory than there is; save fewer images, or use folder:DIR, which is "
            "read as needed"
        ) from None
    except DataError:
        raise
    except Exception as error:  # zipfile and zlib raise many kinds on a damaged file
        raise DataError(
            f"{path} is no readable .npz file: {reason(error)}; write it with numpy.savez"
        ) from None


def _read(path: Path, known: Sequence[str]) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    with path.open("rb") as file:
        start = file.read(len(_ONE_ARRAY))
    if start == _ONE_ARRAY:
        raise DataError(
            f"{path} is one array (.npy); images and labels go into one file with "
            "numpy.savez(FILE, images=…, labels=…)"
        )
    if not zipfile.is_zipfile(path):
        raise ResanalysisError("it is no zip archive of arrays, and a pickle is not read")
    arrays: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = tuple(entry.filename.removesuffix(".npy") for entry in entries)
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ResanalysisError(f"it holds {shown(twice[0])} twice")
        for name, entry in zip(names, entries, strict=True):
            if name in known:
                arrays[name] = _array(archive, entry, name)
    return arrays, names


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> NDArray[Any]:
    # Once for the header alone, before memory is taken for what it announces; then from the beginning.
    with archive.open(entry) as stream:
        _check_header(stream, entry.file_size, name)
    with archive.open(entry) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
        stream.read(1)  # the end of the entry, where its checksum is compared
    return array


def _check_header(stream: IO[bytes], size: int, name: str) -> None:
    """Compare what an array says it takes with what is there, before it is taken."""
    try:
        version = np.lib.format.read_magic(stream)
    except ValueError:
        raise ResanalysisError(f"its entry {name} is no array") from None
    if version not in _HEADERS:
        raise ResanalysisError(f"its array {name} is of version {version}, which is not known")
    shape, _, dtype = _HEADERS[version](stream)
    if dtype.hasobject:
        raise _PickleError(name)
    claimed, there = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if claimed != there:
        raise ResanalysisError(
            f"its array {name} says it takes {claimed:,} bytes, and has {there:,}"
        )
