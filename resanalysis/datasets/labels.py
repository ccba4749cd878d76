"""Which class an image is of, where its folder alone does not say it: ImageNet's layouts, and ReaL labels."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resanalysis.datasets.errors import DataError
from resanalysis.errors import reason, shown

IMAGENET = "imagenet"
_SYNSET = re.compile(r"n\d{8}")
_MOST_CLASSES = 1 << 20
_VALIDATION = "ILSVRC2012_val_{:08d}"
_KINDS = (
    "known are a class a line in the order of the model's outputs (synset_words.txt, LOC_synset_mapping.txt), "
    "a file and its class a line (val.txt, LOC_val_solution.csv), imagenet_class_index.json, and real.json"
)


@dataclass(frozen=True, eq=False)
class LabelFile:
    """What a file says of images.

    Attributes
    ----------
    name : as the user named it.
    folders : class by the name of a folder, such as a synset.
    images : the right classes by the name of an image, without its suffix; several where several are right.
    classes : their names; ``None`` where the file has none.
    """

    name: str
    folders: Mapping[str, int] = field(default_factory=dict[str, int])
    images: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    classes: tuple[str, ...] | None = None

    def of(self, path: Path, within: Path) -> tuple[int, ...] | None:
        """The right classes of an image; empty where all of them are wrong, ``None`` where it is not known."""
        found = self.images.get(path.stem)
        if found is not None:
            return found
        # Training images keep their synset in their name, wherever they lie.
        places = [*path.relative_to(within).parts[-2::-1], within.name, path.stem.partition("_")[0]]
        known = next((place for place in places if place in self.folders), None)
        return None if known is None else (self.folders[known],)


def read_labels(name: str) -> LabelFile:
    """The labels that ``--labels`` names: a file, or ``imagenet`` for its 1,000 synsets in their usual order.

    Raises
    ------
    DataError : if the file cannot be read, or is of no kind that is known.
    """
    if name == IMAGENET:
        return _imagenet()
    path = Path(name)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--labels {name} cannot be read: {reason(error)}") from None
    found = (_of_json if path.suffix.lower() == ".json" else _of_lines)(name, text)
    _check(found)
    return found


def _check(found: LabelFile) -> None:
    # An empty file, or one of another kind, gives no labels, or numbers that are none.
    labels = [*found.folders.values(), *(label for some in found.images.values() for label in some)]
    if not labels or min(labels) < 0 or max(labels) >= _MOST_CLASSES:
        raise DataError(f"--labels {found.name} is no file of labels; {_KINDS}")
    if found.images and min(labels) == 1 and max(labels) == 1000:
        raise DataError(
            f"--labels {found.name}: its classes run from 1 to 1000, as in the development kit, whose order "
            "is not that of the models; give it LOC_val_solution.csv, or val.txt with classes from 0"
        )


def _imagenet() -> LabelFile:
    from torchvision.models import ResNet50_Weights

    text = (files("resanalysis") / "bundled" / "imagenet-synsets.txt").read_text(encoding="ascii")
    numbers = {synset: number for number, synset in enumerate(text.split())}
    return LabelFile(IMAGENET, numbers, classes=tuple(ResNet50_Weights.DEFAULT.meta["categories"]))


def _of_json(name: str, text: str) -> LabelFile:
    try:
        content: Any = json.loads(text)
        if isinstance(content, list):  # ReaL: the right classes of each validation image, in order
            return LabelFile(
                name,
                images={
                    _VALIDATION.format(number): tuple(_class(label) for label in labels)
                    for number, labels in enumerate(content, start=1)
                },
            )
        if all(isinstance(value, int) for value in content.values()):  # torchvision's class_to_idx
            return LabelFile(name, {str(key): _class(value) for key, value in content.items()})
        # Keras' imagenet_class_index.json: {"0": ["n01440764", "tench"], …}
        order = sorted(content, key=int)
        words = [value if isinstance(value, list) else [value] for value in map(content.get, order)]
        return _in_order(name, [[str(word) for word in some] for some in words])
    except (ValueError, TypeError, AttributeError, RecursionError, IndexError):
        raise DataError(f"--labels {name} is no file of labels; {_KINDS}") from None


def _class(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value


def _of_lines(name: str, text: str) -> LabelFile:
    """A line an image or a class. The layouts have no mark: each is known by what all its lines have, and the
    one that asks for most is tried first.
    """
    lines = list(filter(None, map(str.strip, text.splitlines())))
    rows = _words(lines)
    second = [[*row, ""][1] for row in rows]
    if all(map(_SYNSET.fullmatch, second)):
        return _of_solution(name, rows)
    if all(map(str.isdecimal, second)) and max(map(len, rows)) == 2:
        # Caffe's val.txt: a file, and its class
        return LabelFile(name, images={Path(row[0]).stem: (int(row[1]),) for row in rows})
    if all(map(str.isdecimal, lines)):  # of the validation images, in order
        numbered = enumerate(lines, start=1)
        return LabelFile(name, images={_VALIDATION.format(n): (int(line),) for n, line in numbered})
    return _in_order(name, [line.split(maxsplit=1) for line in lines])


def _words(lines: Sequence[str]) -> list[list[str]]:
    """Each line's, without the heading of Kaggle's LOC_val_solution.csv."""
    rows = [re.split(r"[,\s]+", line) for line in lines]
    return rows[1:] if rows and rows[0][0] == "ImageId" else rows


def _of_solution(name: str, rows: Sequence[Sequence[str]]) -> LabelFile:
    """An image and its synset a row; boxes behind it do not matter."""
    numbers = _imagenet().folders
    unknown = next((row[1] for row in rows if row[1] not in numbers), None)
    if unknown is not None:
        raise DataError(f"--labels {name}: {unknown} is none of ImageNet's 1,000 synsets")
    return LabelFile(name, images={Path(row[0]).stem: (numbers[row[1]],) for row in rows})


def _in_order(name: str, rows: Sequence[Sequence[str]]) -> LabelFile:
    """A class a row: the name of its folder, and what it is called."""
    numbers = {row[0]: number for number, row in enumerate(rows)}
    if len(numbers) < len(rows):
        raise DataError(f"--labels {name} names a class twice; {_KINDS}")
    return LabelFile(name, numbers, classes=tuple(shown(row[-1]) for row in rows))


def labels_of(
    paths: Sequence[Path], within: Path, given: LabelFile
) -> tuple[tuple[Path, ...], NDArray[np.int64], NDArray[np.bool_] | None]:
    """The images that have a right class, their labels (N,), and where some have several all of them.

    Returns
    -------
    paths, labels, accepted : ``accepted`` (N, classes) is ``None`` where each image has one right class; else
        the label is the first of them.

    Raises
    ------
    DataError : naming the first image that the file says nothing of.
    """
    found = {path: given.of(path, within) for path in paths}
    missing = [path for path, right in found.items() if right is None]
    if missing:
        raise DataError(
            f"--labels {given.name} says nothing of {len(missing):,} of the {len(paths):,} images in {within}, "
            f"first {missing[0].relative_to(within)}; give it labels of these images or folders"
        )
    # ReaL has images of which no class is right: they are left out, as its authors do.
    kept = {path: right for path, right in found.items() if right}
    if not kept:
        raise DataError(f"--labels {given.name} has no right class for any image in {within}")
    labels = np.array([right[0] for right in kept.values()], dtype=np.int64)
    return tuple(kept), labels, _accepted(list(kept.values()), given)


def _accepted(kept: Sequence[tuple[int, ...]], given: LabelFile) -> NDArray[np.bool_] | None:
    """Which classes (N, classes) are right for each image, of all that the file knows."""
    # Asked of the whole file, not of the images here: a part of a data set is scored as all of it is.
    if all(len(right) <= 1 for right in given.images.values()):
        return None
    classes = 1 + max(label for right in given.images.values() for label in right)
    accepted = np.zeros((len(kept), classes), dtype=np.bool_)
    for row, right in zip(accepted, kept, strict=True):
        row[list(right)] = True
    return accepted
