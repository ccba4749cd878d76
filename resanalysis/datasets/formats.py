"""The files data sets come in: npz, CIFAR's batches, MNIST's idx files, folders of images."""

from __future__ import annotations

import gzip
import io
import math
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resanalysis.datasets.errors import DataError

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...] | None]

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


def read_npz(path: Path, wanted: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz`` file; ``wanted`` must be among them."""
    if path.is_dir():
        raise DataError(
            f"{path} is a folder; one with a folder of images per class is folder:{path}"
        )
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    arrays: dict[str, NDArray[Any]] = {}
    name = ""
    try:
        content = np.load(path, allow_pickle=False)
        if not isinstance(content, np.lib.npyio.NpzFile):
            raise DataError(
                f"{path} is one array (.npy); images and labels go into one file with "
                "numpy.savez(FILE, images=…, labels=…)"
            )
        with content:
            for name in content.files:
                arrays[name] = content[name]
    except DataError:
        raise
    except Exception as error:
        if "allow_pickle" in str(error) and name:
            raise DataError(
                f"{path}: its array {name} is a pickle of Python objects, which could run code; it was "
                "not read. Save numbers with numpy.savez"
            ) from None
        if "allow_pickle" in str(error):
            error = ValueError("it is no zip archive of arrays, and a pickle is not read")
        raise DataError(
            f"{path} is no readable .npz file: {_reason(error)}; write it with numpy.savez"
        ) from None
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise DataError(
            f"{path} has no array {' or '.join(missing)}; it has {', '.join(arrays) or 'none'}"
        )
    return arrays


def _reason(error: Exception) -> str:
    """Without the path that Python puts into it a second time."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


def read_cifar(folder: Path, classes: int, split: str) -> Arrays:
    """CIFAR-10 or CIFAR-100 in its official binary or Python layout."""
    inner = {
        10: ("cifar-10-batches-bin", "cifar-10-batches-py"),
        100: ("cifar-100-binary", "cifar-100-python"),
    }
    if classes == 10:
        stems = [f"data_batch_{n}" for n in range(1, 6)] if split == "train" else ["test_batch"]
    else:
        stems = [split]
    for place in (folder, *(folder / name for name in inner[classes])):
        if all((place / f"{stem}.bin").is_file() for stem in stems):
            parts = [_cifar_binary(place / f"{stem}.bin", classes) for stem in stems]
            break
        if all((place / stem).is_file() for stem in stems):
            parts = [_cifar_python(place / stem, classes) for stem in stems]
            break
    else:
        raise DataError(
            f"{folder} holds no CIFAR-{classes} {split} data: neither {stems[0]}.bin nor {stems[0]} is "
            f"there or in {inner[classes][0]}/, {inner[classes][1]}/"
        )
    images = np.concatenate([part[0] for part in parts])
    labels = np.concatenate([part[1] for part in parts])
    return images, labels, CIFAR10_CLASSES if classes == 10 else None


def _cifar_binary(path: Path, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    header = 1 if classes == 10 else 2
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {_reason(error)}") from None
    if len(content) == 0 or len(content) % (header + 3072):
        raise DataError(f"{path} is truncated: {len(content)} bytes is no number of records")
    rows = content.reshape(-1, header + 3072)
    return rows[:, header:].reshape(-1, 3, 32, 32), rows[:, header - 1].astype(np.int64)


class _PlainUnpickler(pickle.Unpickler):
    """Rebuilds numpy arrays and plain containers, and refuses everything else a pickle can name."""

    _ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it names {module_name}.{global_name}")
        return super().find_class(module_name, global_name)


def _cifar_python(path: Path, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        content = _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        if not isinstance(content, dict):
            raise TypeError(f"it holds a {type(content).__name__}, not a dict")
        images = np.asarray(content[b"data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
        labels = np.asarray(content[b"labels" if classes == 10 else b"fine_labels"], dtype=np.int64)
    except KeyError as error:
        raise DataError(f"{path} is no CIFAR-{classes} batch: it has no {error}") from None
    except Exception as error:
        raise DataError(f"{path} is no CIFAR-{classes} batch: {_reason(error)}") from None
    return images, labels


def read_mnist(folder: Path, split: str) -> Arrays:
    """MNIST's or Fashion-MNIST's idx files, gzipped or not."""
    stem = "train" if split == "train" else "t10k"
    images = _idx(folder, f"{stem}-images-idx3-ubyte", 3)
    labels = _idx(folder, f"{stem}-labels-idx1-ubyte", 1)
    return images[:, None], labels.astype(np.int64), None


def _idx(folder: Path, name: str, dimensions: int) -> NDArray[np.uint8]:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            break
    else:
        raise DataError(f"{folder} holds no {name} and no {name}.gz")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged: {_reason(error)}") from None
    header = 4 + 4 * dimensions
    magic = bytes([0, 0, 8, dimensions])
    if content[:4] != magic or len(content) < header:
        raise DataError(f"{path} is no idx file of {dimensions} dimensions")
    shape = tuple(np.frombuffer(content, ">i4", dimensions, 4).tolist())
    if min(shape) < 1:
        raise DataError(f"{path} is empty: its shape is {shape}")
    if len(content) - header != math.prod(shape):
        raise DataError(f"{path} is truncated: {len(content) - header} bytes of {math.prod(shape)}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def list_folder(folder: Path) -> tuple[tuple[Path, ...], NDArray[np.int64], tuple[str, ...]]:
    """Image files in one folder per class, the classes in alphabetical order."""
    if not folder.is_dir():
        kind = "is a file, not a folder" if folder.exists() else "is not there"
        raise DataError(f"the folder {folder} {kind}")
    try:
        classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {_reason(error)}") from None
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(
            path
            for path in (folder / name).rglob("*")
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
        )
        paths += found
        labels += [label] * len(found)
    if not paths:
        raise DataError(
            f"{folder} holds no images in folders named for their classes; it has {len(classes)} "
            f"folders, and images are files that end in {' '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return tuple(paths), np.asarray(labels, dtype=np.int64), tuple(classes)
