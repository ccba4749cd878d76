"""Images with annotated objects, as COCO lays them out: a folder of images and a JSON file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resanalysis.datasets.errors import DataError
from resanalysis.datasets.folder import file_sha256, image_of
from resanalysis.datasets.objects import Objects
from resanalysis.errors import ResanalysisError, reason, shown

# COCO's own training annotations are 470 MB; what is read takes several times its size.
_LARGEST_JSON = 1 << 30
LARGEST_SIDE = 1 << 14
_AT_TOP = ("annotations.json", "_annotations.coco.json")


@dataclass(frozen=True, eq=False)
class PictureSource:
    """Image files as they are, decoded as they are read.

    Attributes
    ----------
    sizes : height and width of each, which the annotations are measured in.
    """

    paths: tuple[Path, ...]
    sizes: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def one_size(self) -> bool:
        """Whether several can be read at a time."""
        return len(set(self.sizes)) <= 1

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.generic]:
        sizes = sorted({self.sizes[index] for index in indices})
        if len(sizes) > 1:
            (high, wide), (higher, wider) = sizes[:2]
            raise DataError(
                f"images of {wide}×{high} and of {wider}×{higher} do not fit one batch, and this takes several "
                "at a time: give it images of one size"
            )
        return np.stack([_picture(self.paths[index], self.sizes[index]) for index in indices])

    def digest(self) -> str:
        state = hashlib.sha256()
        for path in self.paths:
            state.update(path.name.encode(errors="surrogateescape") + file_sha256(path))
        return state.hexdigest()


def _picture(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """An image file as uint8 (3, H, W), of the size that its annotations say."""

    def taken(image: Any) -> NDArray[np.uint8]:
        if (image.height, image.width) != size:
            raise ResanalysisError(
                f"it is {image.width}×{image.height}, and its annotations say {size[1]}×{size[0]}"
            )
        return np.asarray(image).transpose(2, 0, 1)

    return image_of(path, taken)


@dataclass(frozen=True, eq=False)
class Coco:
    """What a folder in COCO's layout holds.

    Attributes
    ----------
    objects : of each image, in the order of the source.
    categories : names by id.
    """

    source: PictureSource
    objects: tuple[Objects, ...]
    categories: Mapping[int, str]


def read_coco(place: Path) -> Coco:
    """Every image that the annotations list, in the order of their ids, with its objects.

    Parameters
    ----------
    place : a folder with ``annotations.json`` or ``annotations/*.json``, or that JSON file itself.

    Raises
    ------
    DataError : if there are no annotations or no images, saying where was looked; if the file is damaged, or
        names images outside the folder.
    """
    file = _annotations(place)
    content = _content(file)
    names = _categories(file, content)
    entries = {_id(file, entry): entry for entry in _listed(file, content, "images")}
    if not entries or len(entries) < len(content["images"]):
        what = "two images with one id" if entries else "no images"
        raise DataError(f"{file} lists {what}")
    ordered = dict(sorted(entries.items()))
    files = {number: _file_name(file, entry) for number, entry in ordered.items()}
    folder = _images(file, next(iter(files.values())))
    source = PictureSource(
        tuple(_within(folder, name, file) for name in files.values()),
        tuple(_size(file, entry) for entry in ordered.values()),
    )
    return Coco(source, _objects(file, content, list(ordered), names), names)


def _annotations(place: Path) -> Path:
    """The JSON file: the one named, or the only one where they usually are."""
    if place.is_file():
        return place
    if not place.is_dir():
        raise DataError(f"the folder {place} is not there")
    for name in _AT_TOP:
        if (place / name).is_file():
            return place / name
    there = sorted((place / "annotations").glob("*.json"))
    of_boxes = [path for path in there if path.name.startswith("instances_")] or there
    if len(of_boxes) == 1:
        return of_boxes[0]
    if of_boxes:
        raise DataError(
            f"{place / 'annotations'} holds {', '.join(path.name for path in of_boxes[:6])}; name one, such "
            f"as coco:{of_boxes[0]}"
        )
    raise DataError(
        f"{place} holds no annotations: looked for {', '.join(_AT_TOP)} and annotations/*.json. If they lie "
        "elsewhere, name the file itself: coco:FILE.json"
    )


def _images(file: Path, first: str) -> Path:
    """The folder that the names of images are relative to."""
    root = file.parent.parent if file.parent.name == "annotations" else file.parent
    split = file.stem.rpartition("_")[2]  # instances_val2017.json: val2017
    places = [root / split, root / "images" / split, root / "images", root / "data", root]
    for place in places:
        if _is_there(place / first):
            return place
    looked = ", ".join(str(place) for place in places)
    raise DataError(f"{file} lists the image {shown(first)}, which is in none of {looked}")


def _within(folder: Path, name: str, file: Path) -> Path:
    """The path of an image, if it is there and inside the folder, also behind links."""
    path = folder / name
    if not _is_there(path):
        raise DataError(f"{file} lists the image {shown(name)}, which is not in {folder}")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(
            f"{file} names the image {shown(name)}, which is outside {folder}; it is not read"
        )
    return path


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for any file
        return False


def _content(file: Path) -> dict[str, Any]:
    try:
        size = file.stat().st_size
        if size > _LARGEST_JSON:
            raise DataError(
                f"{file} has {size:,} bytes; annotations of at most {_LARGEST_JSON:,} are read"
            )
        content: Any = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file} is no readable JSON: {reason(error)}") from None
    if not isinstance(content, dict) or not all(
        isinstance(content.get(part), list) for part in ("images", "annotations", "categories")
    ):
        raise DataError(
            f"{file} is no annotation file of COCO's kind, which has the lists images, annotations and "
            "categories"
        )
    return content


def _listed(file: Path, content: Mapping[str, Any], part: str) -> list[Mapping[str, Any]]:
    wrong = next((entry for entry in content[part] if not isinstance(entry, dict)), None)
    if wrong is not None:
        raise DataError(f"{file}: among its {part} is {shown(wrong)}, which is no record")
    return content[part]


def _whole(file: Path, entry: Mapping[str, Any], name: str, most: int = 1 << 53) -> int:
    value = entry.get(name)
    if type(value) is not int or not 0 <= value <= most:
        raise DataError(
            f"{file}: {name} is {shown(value)} in {shown(dict(entry))}; it must be a whole number up to {most}"
        )
    return value


def _id(file: Path, entry: Mapping[str, Any]) -> int:
    return _whole(file, entry, "id")


def _file_name(file: Path, entry: Mapping[str, Any]) -> str:
    name = entry.get("file_name")
    if not isinstance(name, str) or not name or "\0" in name:
        raise DataError(f"{file}: an image has the file_name {shown(name)}")
    return name


def _size(file: Path, entry: Mapping[str, Any]) -> tuple[int, int]:
    high, wide = (_whole(file, entry, side, LARGEST_SIDE) for side in ("height", "width"))
    if not high or not wide:
        raise DataError(f"{file}: an image is {wide}×{high}: {shown(dict(entry))}")
    return high, wide


def _categories(file: Path, content: Mapping[str, Any]) -> dict[int, str]:
    found = {
        _id(file, entry): shown(str(entry.get("name")))
        for entry in _listed(file, content, "categories")
    }
    if not found:
        raise DataError(f"{file} lists no categories")
    return found


def _objects(
    file: Path, content: Mapping[str, Any], images: list[int], categories: Mapping[int, str]
) -> tuple[Objects, ...]:
    """The objects of each image, in the order of their annotations."""
    rows: dict[int, list[tuple[list[float], int, float, bool]]] = {number: [] for number in images}
    for entry in _listed(file, content, "annotations"):
        image, category = _whole(file, entry, "image_id"), _whole(file, entry, "category_id")
        if image not in rows or category not in categories:
            raise DataError(
                f"{file}: an annotation is of image {image} and category {category}, of which one is not listed"
            )
        box = _box(file, entry)
        area = entry.get("area", box[2] * box[3])
        if not _is_length(area):
            raise DataError(f"{file}: an area is {shown(area)}; it must be a number")
        rows[image].append((box, category, float(area), bool(entry.get("iscrowd"))))
    return tuple(_together(found) for found in rows.values())


def _box(file: Path, entry: Mapping[str, Any]) -> list[float]:
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(_is_length(side) for side in box):
        raise DataError(
            f"{file}: a bbox is {shown(box)}; it must be [x, y, width, height] in pixels"
        )
    return [float(side) for side in box]


def _is_length(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e9  # NaN is not


def _together(rows: list[tuple[list[float], int, float, bool]]) -> Objects:
    return Objects(
        np.array([row[0] for row in rows], dtype=np.float64).reshape(-1, 4),
        np.array([row[1] for row in rows], dtype=np.int64),
        np.array([row[2] for row in rows], dtype=np.float64),
        np.array([row[3] for row in rows], dtype=np.bool_),
    )
