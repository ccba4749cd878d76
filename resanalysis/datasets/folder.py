"""Images in one folder per class, read when they are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resanalysis.datasets.errors import DataError
from resanalysis.datasets.npz import reason
from resanalysis.errors import ResanalysisError, shown

# By suffix, as Pillow calls the formats. It goes by content and would read others as well, among them
# EPS, for which it starts Ghostscript.
_FORMATS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".gif": "GIF", ".webp": "WEBP",
    ".tif": "TIFF", ".tiff": "TIFF", ".ppm": "PPM", ".pgm": "PPM",
}  # fmt: skip
_OF_16_BITS = {"PNG", "PPM"}  # whose mode I means 0 to 65535
_NOT_CLASSES = {"__MACOSX"}  # what unpacking leaves


@dataclass(frozen=True, eq=False)
class FileSource:
    """Image files, resized, cropped and decoded as they are read."""

    paths: tuple[Path, ...]
    image_size: int

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.generic]:
        return np.stack([_cropped(self.paths[index], self.image_size) for index in indices])

    def digest(self) -> str:
        state = hashlib.sha256(str(self.image_size).encode())
        for path in self.paths:
            state.update((path.parent.name + path.name).encode(errors="surrogateescape"))
            try:
                with path.open("rb") as file:
                    state.update(hashlib.file_digest(file, "sha256").digest())
            except OSError as error:
                raise DataError(f"{path} cannot be read: {reason(error)}") from None
        return state.hexdigest()


def list_folder(folder: Path) -> tuple[tuple[Path, ...], NDArray[np.int64], tuple[str, ...]]:
    """Image files in one folder per class, the classes in alphabetical order.

    Hidden folders and files are none of the data: an editor's or an archiver's would shift the label of
    every class behind it.

    Raises
    ------
    DataError : if the folder cannot be read, if there are no images, or if a class has none.
    """
    if not folder.is_dir():
        kind = "is a file, not a folder" if folder.exists() else "is not there"
        raise DataError(f"the folder {folder} {kind}")
    try:
        classes = sorted(entry.name for entry in folder.iterdir() if _is_class(entry))
        found = [sorted(_images(folder / name)) for name in classes]
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {reason(error)}") from None
    _check_filled(folder, classes, found)
    paths = tuple(path for images in found for path in images)
    labels = np.repeat(np.arange(len(classes)), [len(images) for images in found])
    return paths, labels.astype(np.int64), tuple(shown(name) for name in classes)


def _check_filled(folder: Path, classes: list[str], found: list[list[Path]]) -> None:
    suffixes = " ".join(sorted(_FORMATS))
    if not any(found):
        raise DataError(
            f"{folder} holds no images in folders named for their classes; it has {len(classes)} "
            f"folders, and images are files that end in {suffixes}"
        )
    for name, images in zip(classes, found, strict=True):
        if not images:
            raise DataError(
                f"{folder / name} holds no images; as a class it would shift the labels of those behind "
                f"it. Remove it, or put images into it: files that end in {suffixes}"
            )


def _is_class(entry: Path) -> bool:
    return entry.is_dir() and not entry.name.startswith(".") and entry.name not in _NOT_CLASSES


def _images(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in _FORMATS and not hidden and path.is_file():
            yield path


def _cropped(path: Path, size: int) -> NDArray[np.uint8]:
    """The middle square of an image as uint8 (3, size, size)."""
    from PIL import Image

    try:
        with Image.open(path, formats=sorted(set(_FORMATS.values()))) as image:
            coloured = _of_8_bits(image).convert("RGB")
            # The usual evaluation crop: the short side to 8/7 of the size, then the middle.
            scale = round(size * 8 / 7) / min(coloured.size)
            resized = coloured.resize(
                (max(1, round(coloured.width * scale)), max(1, round(coloured.height * scale))),
                Image.Resampling.BILINEAR,
            )
            left, top = (resized.width - size) // 2, (resized.height - size) // 2
            fitted = resized.crop((left, top, left + size, top + size))
    except Exception as error:  # Pillow's plugins raise what they like on a damaged file
        said = reason(error).replace(f" '{path}'", "")
        raise DataError(
            f"{path} is no readable image: {said}; remove it or save it again"
        ) from None
    return np.asarray(fitted, dtype=np.uint8).transpose(2, 0, 1)


def _of_8_bits(image: Any) -> Any:
    """An image of deeper grey in 0 to 255; Pillow's own conversion cuts every value above 255 to white."""
    from PIL import Image

    sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format in _OF_16_BITS)
    if sixteen:
        return Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ResanalysisError(
            f"its values are {'32-bit' if image.mode == 'I' else 'floats'} and do not say what is white"
        )
    return image
