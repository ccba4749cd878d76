"""MNIST's and Fashion-MNIST's idx files, gzipped or not."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from resanalysis.datasets.errors import DataError
from resanalysis.errors import reason

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_CHUNK = 1 << 20


def read_mnist(folder: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (N, 1, H, W) and labels (N,).

    Raises
    ------
    DataError : if a file is missing, damaged, or not as long as its header says.
    """
    stem = "train" if split == "train" else "t10k"
    images = _idx(folder, f"{stem}-images-idx3-ubyte", 3)
    labels = _idx(folder, f"{stem}-labels-idx1-ubyte", 1)
    return images[:, None], labels.astype(np.int64)


def _idx(folder: Path, name: str, dimensions: int) -> NDArray[np.uint8]:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            break
    else:
        raise DataError(f"{folder} holds no {name} and no {name}.gz")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _values(cast(IO[bytes], file), path, dimensions)
    except MemoryError:
        raise DataError(f"{path} needs more memory than there is") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged: {reason(error)}") from None


def _values(file: IO[bytes], path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The values, of which no more are unpacked than the header announces."""
    header = file.read(4 + 4 * dimensions)
    if header[:4] != bytes([0, 0, 8, dimensions]) or len(header) < 4 + 4 * dimensions:
        raise DataError(f"{path} is no idx file of {dimensions} dimensions")
    shape = tuple(np.frombuffer(header, ">i4", dimensions, 4).tolist())
    if min(shape) < 1:
        raise DataError(f"{path} is empty: its shape is {shape}")
    wanted = math.prod(shape)
    content = bytearray()
    while len(content) <= wanted:
        # One byte more than announced, so that a longer file is noticed without unpacking the rest of it.
        piece = file.read(min(_CHUNK, wanted + 1 - len(content)))
        if not piece:
            break
        content += piece
    if len(content) > wanted:
        raise DataError(f"{path} is longer than the {wanted:,} bytes of its shape {shape}")
    if len(content) < wanted:
        raise DataError(f"{path} is truncated: {len(content)} bytes of {wanted}")
    return np.frombuffer(content, np.uint8).reshape(shape)
