"""The files data sets come in: npz, CIFAR's batches, MNIST's idx files, folders of images."""

from __future__ import annotations

import gzip
import io
import pickle
import zipfile
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
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no readable .npz file: {error}") from None
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise DataError(
            f"{path} has no array {' or '.join(missing)}; it has {', '.join(arrays) or 'none'}"
        )
    return arrays


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
    content = np.fromfile(path, dtype=np.uint8)
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
        images = np.asarray(content[b"data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
        labels = np.asarray(content[b"labels" if classes == 10 else b"fine_labels"], dtype=np.int64)
    except Exception as error:
        raise DataError(f"{path} is no CIFAR-{classes} batch: {error}") from None
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
    except (OSError, EOFError) as error:
        raise DataError(f"{path} is damaged: {error}") from None
    header = 4 + 4 * dimensions
    magic = bytes([0, 0, 8, dimensions])
    if content[:4] != magic:
        raise DataError(f"{path} is no idx file of {dimensions} dimensions")
    shape = tuple(np.frombuffer(content, ">i4", dimensions, 4).tolist())
    if len(content) - header != int(np.prod(shape)):
        raise DataError(f"{path} is truncated: {len(content) - header} bytes of {np.prod(shape)}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def list_folder(folder: Path) -> tuple[tuple[Path, ...], NDArray[np.int64], tuple[str, ...]]:
    """Image files in one folder per class, the classes in alphabetical order."""
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(p for p in (folder / name).rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        paths += found
        labels += [label] * len(found)
    if not paths:
        raise DataError(
            f"{folder} holds no images in folders named for their classes; it has "
            f"{len(classes)} folders"
        )
    return tuple(paths), np.asarray(labels, dtype=np.int64), tuple(classes)
