"""Images in one folder per class, read when they are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from resanalysis.datasets.errors import DataError
from resanalysis.datasets.pixels import Pixels, shaped
from resanalysis.errors import ResanalysisError, reason, shown

# By suffix, as Pillow calls the formats. It goes by content and would read others as well, among them
# EPS, for which it starts Ghostscript.
FORMATS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".gif": "GIF", ".webp": "WEBP",
    ".tif": "TIFF", ".tiff": "TIFF", ".ppm": "PPM", ".pgm": "PPM",
}  # fmt: skip
_OF_16_BITS = {"PNG", "PPM"}  # whose mode I means 0 to 65535
Whole = TypeVar("Whole", bound=np.integer)
_NOT_CLASSES = {"__MACOSX"}  # what unpacking leaves


@dataclass(frozen=True, eq=False)
class FileSource:
    """Image files, resized, cropped and decoded as they are read."""

    paths: tuple[Path, ...]
    pixels: Pixels

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.generic]:
        fitted = partial(shaped, pixels=self.pixels)
        return np.stack([image_of(self.paths[index], fitted) for index in indices])

    def digest(self) -> str:
        how = self.pixels
        state = hashlib.sha256(
            repr((how.size, how.resize, how.interpolation, how.as_tensor)).encode()
        )
        for path in self.paths:
            # Python reads a name that is no UTF-8 so, and it counts too.
            state.update((path.parent.name + path.name).encode(errors="surrogateescape"))
            state.update(file_sha256(path))
        return state.hexdigest()


def file_sha256(path: Path) -> bytes:
    """Of a file's content.

    Raises
    ------
    DataError : if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason(error)}") from None


_PARTS = {"train", "val", "valid", "validation", "test"}


def list_images(folder: Path) -> tuple[Path, ...]:
    """Image files at any depth of a folder, sorted by name, for labels that a file brings.

    Raises
    ------
    DataError : if there are none, or if the folder holds a training and a test part.
    """
    _check_there(folder)
    try:
        _check_no_parts(folder, {entry.name for entry in folder.iterdir() if _is_class(entry)})
        found = tuple(sorted(_images(folder), key=lambda path: (path.name, path)))
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {reason(error)}") from None
    if not found:
        raise DataError(f"{folder} holds no images: files that end in {' '.join(sorted(FORMATS))}")
    return found


def _check_there(folder: Path) -> None:
    if not folder.is_dir():
        kind = "is a file, not a folder" if folder.exists() else "is not there"
        raise DataError(f"the folder {folder} {kind}")


def _check_no_parts(folder: Path, names: set[str]) -> None:
    """Parts of a data set would be taken for its classes."""
    if len(names) > 1 and names <= _PARTS:
        there = sorted(names)
        raise DataError(
            f"{folder} holds {', '.join(there)}, the parts of a data set; name one, such as "
            f"folder:{folder / there[-1]}"
        )


def list_folder(folder: Path) -> tuple[tuple[Path, ...], NDArray[np.int64], tuple[str, ...]]:
    """Image files in one folder per class, the classes in alphabetical order.

    Hidden folders and files are none of the data: an editor's or an archiver's would shift the label of
    every class behind it.

    Raises
    ------
    DataError : if the folder cannot be read, if there are no images, or if a class has none.
    """
    _check_there(folder)
    try:
        classes = sorted(entry.name for entry in folder.iterdir() if _is_class(entry))
        _check_no_parts(folder, set(classes))
        # A folder's own order is the file system's, and differs between machines.
        found = [sorted(_images(folder / name)) for name in classes]
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {reason(error)}") from None
    _check_filled(folder, classes, found)
    paths = tuple(path for images in found for path in images)
    labels = np.repeat(np.arange(len(classes)), [len(images) for images in found])
    return paths, labels.astype(np.int64), tuple(shown(name) for name in classes)


def _check_filled(folder: Path, classes: list[str], found: list[list[Path]]) -> None:
    suffixes = " ".join(sorted(FORMATS))
    if not any(found):
        raise DataError(
            f"{folder} holds no images in folders named for their classes; it has {len(classes)} "
            f"such folders, and images are files that end in {suffixes}"
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
        if path.suffix.lower() in FORMATS and not hidden and path.is_file():
            yield path


def image_of(path: Path, take: Callable[[Any], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """What ``take`` makes of an image file, given to it as an RGB picture of Pillow's.

    Raises
    ------
    DataError : if the file is no readable image, or ``take`` refuses it.
    """
    return picture_of(path, lambda image: take(_of_8_bits(image).convert("RGB")))


def picture_of(
    path: Path, take: Callable[[Any], NDArray[Whole]], formats: list[str] | None = None
) -> NDArray[Whole]:
    """What ``take`` makes of an image file as Pillow opens it: nothing but the header is read yet.

    Parameters
    ----------
    formats : as Pillow calls them; all that are read if left out.

    Raises
    ------
    DataError : if the file is no readable image, or ``take`` refuses it.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=formats or sorted(set(FORMATS.values()))) as image:
            return take(image)
    except Exception as error:  # Pillow's plugins raise what they like on a damaged file
        said = reason(error).replace(f" '{path}'", "")
        raise DataError(
            f"{path} is no readable image: {said}; remove it or save it again"
        ) from None


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
