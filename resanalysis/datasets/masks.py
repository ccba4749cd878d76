"""Images with a mask each, whose pixels are classes: PNG files of the same stem in a folder beside."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resanalysis.datasets.coco import LARGEST_SIDE, PictureSource
from resanalysis.datasets.errors import DataError
from resanalysis.datasets.folder import FORMATS, file_sha256, image_of, picture_of
from resanalysis.datasets.pixels import Pixels, shaped
from resanalysis.errors import ResanalysisError, reason, shown

# Folders of images and of masks. The last is PASCAL VOC's, the one before also ADE20K's.
_LAYOUTS = (
    ("images", "masks"), ("images", "labels"), ("images", "annotations"),
    ("JPEGImages", "SegmentationClass"),
)  # fmt: skip
_PARTS = {"test": ("", "validation", "val", "test"), "train": ("", "training", "train")}
_LISTS = {"test": "val.txt", "train": "train.txt"}
_LARGEST_LIST = 1 << 24
_NO_CLASS = 255
# Grey of 2 and 4 bits, which Pillow stretches to 0 to 255.
_STRETCHED = {"L;2": 85, "L;4": 17}


class _Layout(NamedTuple):
    """Where images and masks lie, and the file that lists the stems of a part, if there is one."""

    images: Path
    masks: Path
    stems: Path | None


@dataclass(frozen=True, eq=False)
class MaskedSource:
    """Images and masks, decoded as they are read.

    Attributes
    ----------
    pictures : the images as they are, of the sizes that their masks have too.
    masks : of each image.
    pixels : how both are resized, masks to the nearest pixel; as they are if ``None``.
    zero : what class 0 is: a class, or none, and those above it count from 0 then.
    """

    pictures: PictureSource
    masks: tuple[Path, ...]
    pixels: Pixels | None
    zero: Literal["class", "none"]

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of each as it is stored."""
        return self.pictures.sizes

    @property
    def one_size(self) -> bool:
        """Whether several can be read at a time."""
        return self.pixels is not None or self.pictures.one_size

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.generic]:
        pixels = self.pixels
        if pixels is None:
            return self.pictures.read(indices)
        paths = [self.pictures.paths[index] for index in indices]
        return np.stack([image_of(path, partial(shaped, pixels=pixels)) for path in paths])

    def classes_of(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The class of every pixel (N, H, W) of these examples; −1 where there is none."""
        return np.stack([self._mask(int(index)) for index in indices])

    def _mask(self, index: int) -> NDArray[np.int64]:
        size = self.sizes[index]

        def taken(image: Any) -> NDArray[np.int64]:
            if (image.height, image.width) != size:
                raise ResanalysisError(
                    f"it is {image.width}×{image.height}, and its image is {size[1]}×{size[0]}"
                )
            return _classes(image)

        found = picture_of(self.masks[index], taken, ["PNG"])
        if self.zero == "none":
            found = np.where(found > 0, found - 1, -1)
        return found if self.pixels is None else _nearest(found, self.pixels.size)

    def digest(self) -> str:
        state = hashlib.sha256(f"{self.pictures.digest()}{self.zero}".encode())
        if self.pixels is not None:
            state.update(repr((self.pixels.size, self.pixels.interpolation)).encode())
        for path in self.masks:
            state.update(file_sha256(path))
        return state.hexdigest()


def _classes(image: Any) -> NDArray[np.int64]:
    """The classes (H, W) that a mask of Pillow's holds, numbers as they are in the file."""
    raw = image.tile[0][3] if image.tile else ""
    if image.mode not in ("P", "L", "1", "I", "I;16"):
        raise ResanalysisError(
            f"its pixels are colours ({image.mode}); a mask is a PNG of grey or with a palette, whose numbers "
            "are classes"
        )
    values = np.asarray(image).astype(np.int64)
    if raw in _STRETCHED:
        return values // _STRETCHED[raw]
    return np.where(values == _NO_CLASS, -1, values) if image.mode in ("P", "L") else values


def _nearest(values: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.int64]:
    """Resized to (high, wide): at each place the number of the pixel that holds its middle."""
    places = [
        ((np.arange(to) + 0.5) * of / to).astype(int)
        for of, to in zip(values.shape, size, strict=True)
    ]
    return values[np.ix_(*places)]


@dataclass(frozen=True, eq=False)
class Masked:
    """What a folder of images and masks holds.

    Attributes
    ----------
    subset : which of the images are taken, in words; empty where all are.
    """

    source: MaskedSource
    subset: str


def read_masks(
    place: str,
    split: Literal["train", "test"] = "test",
    image_size: int | None = None,
    interpolation: str | None = None,
) -> Masked:
    """The images that have a mask, sorted by name.

    Parameters
    ----------
    place : a folder, with ``?zero=none`` behind it where pixels of 0 are of no class and classes count from 1.
    split : of PASCAL VOC the list of images, of other layouts the folder, where there are such.
    image_size : side of the square that both are resized to, the image by ``interpolation``.

    Raises
    ------
    DataError : if there are no masks, saying where was looked; if a mask has no image, or another size than its
        image; if a file lies outside the folder, also behind a link.
    """
    name, zero = _options(place)
    root = Path(name)
    if not root.is_dir():
        raise DataError(f"the folder {root} is not there")
    layout = _layout(root, split)
    images, masks = _by_stem(layout.images, FORMATS), _by_stem(layout.masks, [".png"])
    if layout.stems is not None:
        stems = _listed(layout.stems, masks)
        subset = f"the {len(stems)} of {layout.stems.relative_to(root)}"
    else:
        stems = sorted(masks)
        subset = (
            "" if len(stems) == len(images) else f"the {len(stems)} of {len(images)} with a mask"
        )
    missing = next((stem for stem in stems if stem not in images), None)
    if missing is not None:
        raise DataError(f"{masks[missing]} is the mask of no image in {layout.images}")
    pairs = [(images[stem], masks[stem]) for stem in stems]
    sizes = tuple(_size(root, *pair) for pair in pairs)
    pictures = PictureSource(tuple(image for image, _ in pairs), sizes)
    pixels = None
    if image_size is not None:
        side = (image_size, image_size)
        pixels = Pixels(side, side, interpolation or "bilinear", said_by="--image-size")
    return Masked(MaskedSource(pictures, tuple(mask for _, mask in pairs), pixels, zero), subset)


def _options(place: str) -> tuple[str, Literal["class", "none"]]:
    name, _, said = place.partition("?")
    if said not in ("", "zero=none", "zero=class"):
        raise DataError(f"masks:{place}: there is no option {shown(said)}; there is zero=none")
    return name, "none" if said == "zero=none" else "class"


def _layout(root: Path, split: Literal["train", "test"]) -> _Layout:
    """The first of the usual layouts that holds images and masks of this part."""
    for images, masks in _LAYOUTS:
        for part in _PARTS[split]:
            pair = (root / images / part, root / masks / part)
            if all(folder.is_dir() for folder in pair) and _by_stem(pair[1], [".png"]):
                stems = root / "ImageSets" / "Segmentation" / _LISTS[split]
                return _Layout(*pair, stems if stems.is_file() else None)
    looked = ", ".join(f"{images} + {masks}" for images, masks in _LAYOUTS)
    raise DataError(
        f"{root} holds no images with masks for {split}ing: looked for the folders {looked}, and in them for "
        f"{', '.join(part for part in _PARTS[split] if part)}; masks are PNG files"
    )


def _by_stem(folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """Files directly in a folder by their name without its suffix; hidden ones are none of the data."""
    found: dict[str, Path] = {}
    try:
        for path in sorted(folder.iterdir()):
            wanted = path.suffix.lower() in suffixes and not path.name.startswith(".")
            if not wanted or not path.is_file():
                continue
            if path.stem in found:
                raise DataError(
                    f"{folder} holds {found[path.stem].name} and {path.name}: which has the mask?"
                )
            found[path.stem] = path
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {reason(error)}") from None
    return found


def _listed(file: Path, masks: Mapping[str, Path]) -> list[str]:
    """The stems that a file lists, one a line."""
    try:
        if file.stat().st_size > _LARGEST_LIST:
            raise DataError(f"{file} has more than {_LARGEST_LIST:,} bytes; it lists images")
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file} cannot be read: {reason(error)}") from None
    stems = sorted({line.strip() for line in lines} - {""})
    # Looked up among what is there, so that no name leads anywhere else.
    unknown = next((stem for stem in stems if stem not in masks), None)
    if unknown is not None or not stems:
        raise DataError(
            f"{file} lists {'nothing' if unknown is None else shown(unknown)}, which has no mask"
        )
    return stems


def _size(root: Path, image: Path, mask: Path) -> tuple[int, int]:
    """Height and width of an image and its mask, from their headers."""
    for path in (image, mask):
        if not path.resolve().is_relative_to(root.resolve()):
            raise DataError(f"{path} leads outside {root}; it is not read")
    sizes = [
        picture_of(path, lambda found: np.array([found.height, found.width]), formats)
        for path, formats in ((image, None), (mask, ["PNG"]))
    ]
    (high, wide), (mask_high, mask_wide) = (size.tolist() for size in sizes)
    if (high, wide) != (mask_high, mask_wide):
        raise DataError(f"{image} is {wide}×{high}, and its mask {mask_wide}×{mask_high}")
    if max(high, wide) > LARGEST_SIDE:
        raise DataError(f"{image} is {wide}×{high}; sides of at most {LARGEST_SIDE:,} are read")
    return high, wide
