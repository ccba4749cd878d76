"""CIFAR-10 and CIFAR-100 in their official binary and Python batches."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resanalysis.datasets.errors import DataError
from resanalysis.datasets.images import channels_first, checked_labels
from resanalysis.errors import reason

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
_FOLDERS = {
    10: ("cifar-10-batches-bin", "cifar-10-batches-py"),
    100: ("cifar-100-binary", "cifar-100-python"),
}
_VALUES = 3 * 32 * 32


def read_cifar(
    folder: Path, classes: int, split: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...] | None]:
    """Images (N, 3, 32, 32), labels (N,) and class names, where the folder or one in it has them.

    Raises
    ------
    DataError : if a batch is missing or damaged, or holds what are no images and labels.
    """
    stems = [split]
    if classes == 10:
        stems = [f"data_batch_{n}" for n in range(1, 6)] if split == "train" else ["test_batch"]
    paths, read = _layout(folder, stems, classes, split)
    parts = [read(path, classes) for path in paths]
    images = np.concatenate([part[0] for part in parts])
    labels = np.concatenate([part[1] for part in parts])
    return images, labels, CIFAR10_CLASSES if classes == 10 else None


def _layout(
    folder: Path, stems: list[str], classes: int, split: str
) -> tuple[list[Path], Callable[[Path, int], Batch]]:
    """The files of all batches and the function that reads them."""
    for place in (folder, *(folder / name for name in _FOLDERS[classes])):
        for suffix, read in ((".bin", _binary), ("", _python)):
            paths = [place / f"{stem}{suffix}" for stem in stems]
            if all(path.is_file() for path in paths):
                return paths, read
    raise DataError(
        f"{folder} holds no CIFAR-{classes} {split} data: neither {stems[0]}.bin nor {stems[0]} is "
        f"there or in {_FOLDERS[classes][0]}/, {_FOLDERS[classes][1]}/"
    )


def _binary(path: Path, classes: int) -> Batch:
    # Of CIFAR-100 a coarse label stands before the fine one.
    header = 1 if classes == 10 else 2
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason(error)}") from None
    if len(content) == 0 or len(content) % (header + _VALUES):
        raise DataError(f"{path} is truncated: {len(content)} bytes is no number of records")
    rows = content.reshape(-1, header + _VALUES)
    return _checked(rows[:, header:], rows[:, header - 1], classes, path)


def _python(path: Path, classes: int) -> Batch:
    try:
        content = _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        if not isinstance(content, dict):
            raise TypeError(f"it holds a {type(content).__name__}, not a dict")
        images = np.asarray(content[b"data"])
        labels = np.asarray(content[b"labels" if classes == 10 else b"fine_labels"])
    except KeyError as error:
        raise DataError(f"{path} is no CIFAR-{classes} batch: it has no {error}") from None
    except MemoryError:
        raise DataError(f"{path} needs more memory than there is") from None
    except Exception as error:
        raise DataError(f"{path} is no CIFAR-{classes} batch: {reason(error)}") from None
    return _checked(images, labels, classes, path)


def _checked(
    images: NDArray[Any], labels: NDArray[Any], classes: int, path: Path
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The checks of an ``.npz`` file: nothing is cast, so that no float becomes a black image."""
    if images.ndim == 0 or images.size % _VALUES:
        raise DataError(
            f"{path} is no CIFAR-{classes} batch: its data is of shape {images.shape}, not N×{_VALUES}"
        )
    rows = channels_first(images.reshape(-1, 3, 32, 32), str(path))
    return rows, checked_labels(labels, len(rows), range(classes), str(path))


_ARRAY = object()
"""Stands for the type of arrays, which a pickle could otherwise call with any shape."""


def _new_array(kind: Any, shape: Any, code: Any) -> NDArray[Any]:
    """What a pickled array begins as: empty. Its values come with its state, which says how many."""
    if kind is not _ARRAY or shape != (0,):
        raise pickle.UnpicklingError(f"it makes an array of shape {shape} without values")
    return np.ndarray((0,), np.int8)


def _latin1(text: Any, encoding: Any) -> bytes:
    """How bytes are written in old pickles."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("it encodes something that is no text in latin1")
    return text.encode("latin1")


class _PlainUnpickler(pickle.Unpickler):
    """Rebuilds numpy arrays and plain containers, and refuses everything else a pickle can name."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        allowed = {
            ("numpy.core.multiarray", "_reconstruct"): _new_array,
            ("numpy._core.multiarray", "_reconstruct"): _new_array,
            ("numpy", "ndarray"): _ARRAY,
            ("numpy", "dtype"): np.dtype,
            ("_codecs", "encode"): _latin1,
        }
        if (module_name, global_name) not in allowed:
            raise pickle.UnpicklingError(f"it names {module_name}.{global_name}")
        return allowed[module_name, global_name]
