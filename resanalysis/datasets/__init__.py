"""A file or a name → images and labels, or token ids, as the model expects them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from resanalysis.datasets.bundled import bundled_file
from resanalysis.datasets.cifar import read_cifar
from resanalysis.datasets.coco import read_coco
from resanalysis.datasets.errors import DataError
from resanalysis.datasets.folder import FileSource, list_folder, list_images
from resanalysis.datasets.idx import FASHION_CLASSES, read_mnist
from resanalysis.datasets.images import (
    ArraySource,
    Dataset,
    Source,
    assembled,
    channels_first,
    image_dataset,
    tell_of_classes,
)
from resanalysis.datasets.labels import labels_of, read_labels
from resanalysis.datasets.masks import read_masks
from resanalysis.datasets.normalisation import NORMALISATIONS, Normalisation, chosen_normalisation
from resanalysis.datasets.npz import read_npz
from resanalysis.datasets.objects import Objects
from resanalysis.datasets.pixels import Pixels, chosen_pixels
from resanalysis.datasets.text import Predicted, check_vocabulary, text_dataset
from resanalysis.datasets.tokens import token_dataset
from resanalysis.errors import shown

__all__ = [
    "NORMALISATIONS",
    "DataError",
    "Dataset",
    "Pixels",
    "check_of_files",
    "check_vocabulary",
    "dataset",
    "image_dataset",
    "tell_of_classes",
]

_MOST_CHANNELS = 16


def dataset(
    spec: str | Path,
    *,
    normalize: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    limit: int | None = None,
    seed: int = 0,
    split: Literal["train", "test"] = "test",
    image_size: int | None = None,
    crop: float | None = None,
    interpolation: str | None = None,
    pixels: Pixels | None = None,
    labels: str | Path | None = None,
    tokenizer: str | Path | None = None,
    positions: int | None = None,
    predicted: Predicted | None = None,
) -> Dataset:
    """Read a data set.

    Parameters
    ----------
    spec : ``FILE.npz`` (``images`` uint8, ``labels`` if there are any), ``bundled:NAME``, ``cifar10:DIR``,
        ``cifar100:DIR``, ``fashion-mnist:DIR``, ``folder:DIR`` (a folder per class, read as needed),
        ``coco:DIR`` (images and the objects in them, not normalised unless ``normalize`` or ``mean`` say it),
        ``masks:DIR`` (images and, for each, a PNG whose pixels are classes, 255 none),
        ``tokens:FILE.npz`` (``input_ids`` (N, T), and ``attention_mask`` if there is one), or
        ``text:FILE`` (UTF-8; options after it as in ``text:FILE?length=64&by=line&tokenizer=DIR``).
        ``?labels=none`` after the last two leaves out that each token is the label of the one before it;
        ``?labels=masked`` after a text hides 15 % of its tokens, which are predicted.
    normalize : ``imagenet``, ``cifar10``, ``fashion-mnist`` or ``none`` (pixels in [0, 1]).
    mean, std : per channel, instead of ``normalize``.
    limit : keep a seeded subset of this many examples, the classes in their proportions.
    split : of the data sets that have a training and a test part.
    image_size, crop, interpolation : of ``folder:`` images: the side of the middle that is cut out, its
        share of the resized image, and how that is resized; what is left out is as ``pixels`` says. Of
        ``masks:`` images the side that image and mask are resized to, and how the image is.
    pixels : what the model was made for (``model.resanalysis.preprocessing.pixels``); 224 of 256, bilinear, if
        left out.
    labels : of ``folder:`` images: a file that says their classes (docs/data.md), or ``imagenet``.
    tokenizer : of ``text:``: the folder of the model's tokenizer.
    positions : of ``text:``: the longest sequence the model takes; found in the tokenizer's folder if
        left out.
    predicted : of ``text:`` and ``tokens:``: what is predicted where the name does not say it.

    Raises
    ------
    DataError : if the data cannot be read or used, or nothing says how to normalise it.
    """
    text = str(spec)
    _check_arguments(text, split, tokenizer, positions)
    check_of_files(
        text, image_size=image_size, crop=crop, interpolation=interpolation, labels=labels
    )
    scheme, _, place = text.partition(":")
    if scheme == "text" and place:
        found = text_dataset(place, tokenizer=tokenizer, positions=positions, labels=predicted)
    elif scheme == "tokens" and place:
        found = token_dataset(place, scored=predicted in (None, "next"))
    else:
        if scheme == "folder" and place:
            how = chosen_pixels(pixels, image_size, crop, interpolation)
            read = _folder(Path(place), how, None if labels is None else str(labels))
        else:
            read = (
                _masked(place, split, image_size, interpolation)
                if scheme == "masks" and place
                else _images_of(scheme, place, split) or _arrays(text)
            )
        chosen = chosen_normalisation(text, normalize, mean, std, read.recorded)
        found = assembled(text, read.source, read.channels, read.labels, *chosen, read.classes)
        found = replace(found, accepted=read.accepted, subset=read.subset, objects=read.objects)
    return found if limit is None else found.limited(limit, seed)


@dataclass(frozen=True, eq=False)
class _Images:
    """Images as they were read, before anything says how they are normalised."""

    source: Source
    channels: int
    labels: NDArray[Any] | None
    classes: tuple[str, ...] | None = None
    recorded: Normalisation | None = None
    accepted: NDArray[np.bool_] | None = None
    subset: str = ""
    objects: tuple[Objects, ...] | None = None


def _check_arguments(
    name: str,
    split: str,
    tokenizer: str | Path | None,
    positions: int | None,
) -> None:
    if split not in ("train", "test"):
        raise DataError(f"{name}: there is no part {split!r}; there are train and test")
    if not name.startswith("text:") and (tokenizer, positions) != (None, None):
        raise DataError(f"{name}: a tokenizer is for plain text; name the data text:FILE")


def check_of_files(name: str, **given: object) -> None:
    """Refuse what is said of files of images where the data is none.

    Raises
    ------
    DataError : naming the first such option.
    """
    said = next((option for option, value in given.items() if value is not None), None)
    if name.startswith("masks:"):
        _check_of_masks(name, **given)
    elif said is not None and not name.startswith("folder:"):
        raise DataError(
            f"{name}: --{said.replace('_', '-')} is for files of images, folder:DIR, and these are taken as "
            "they are; leave it out"
        )


def _check_of_masks(name: str, **given: object) -> None:
    """Images with masks are resized, or left as they are; nothing is cut off, nor labelled otherwise."""
    wrong = next((option for option in ("crop", "labels") if given.get(option) is not None), None)
    if wrong is not None:
        raise DataError(
            f"{name}: --{wrong} is for files of images, folder:DIR; --image-size resizes images and masks"
        )
    if given.get("interpolation") is not None and given.get("image_size") is None:
        raise DataError(
            f"{name}: these images are not resized; give --interpolation with --image-size, or leave it out"
        )


def _masked(
    place: str,
    split: Literal["train", "test"],
    image_size: int | None,
    interpolation: str | None,
) -> _Images:
    """Images of which every pixel has a class."""
    chosen_pixels(None, image_size, None, interpolation)  # refuses sizes and names that are none
    found = read_masks(place, split, image_size, interpolation)
    return _Images(found.source, 3, None, subset=found.subset)


def _folder(folder: Path, pixels: Pixels, labels: str | None) -> _Images:
    """The images of a folder, with the classes that its folders or a file of labels say."""
    if labels is None:
        paths, numbers, classes = list_folder(folder)
        return _Images(FileSource(paths, pixels), 3, numbers, classes)
    given = read_labels(labels)
    there = list_images(folder)
    paths, numbers, accepted = labels_of(there, folder, given)
    subset = "" if len(paths) == len(there) else f"the {len(paths)} of {len(there)} with a label"
    return _Images(
        FileSource(paths, pixels), 3, numbers, given.classes, accepted=accepted, subset=subset
    )


def _images_of(scheme: str, place: str, split: str) -> _Images | None:
    """The images of a layout that has a name; ``None`` if there is none of that name."""
    if not place:
        return None
    if scheme == "coco":
        found = read_coco(Path(place))
        # Detectors normalise what they are given by themselves.
        return _Images(
            found.source, 3, None, recorded=NORMALISATIONS["none"], objects=found.objects
        )
    if scheme in ("cifar10", "cifar100"):
        images, labels, classes = read_cifar(Path(place), 10 if scheme == "cifar10" else 100, split)
        return _Images(ArraySource(images), 3, labels, classes)
    if scheme in ("fashion-mnist", "mnist"):
        images, labels = read_mnist(Path(place), split)
        classes = FASHION_CLASSES if scheme == "fashion-mnist" else None
        return _Images(ArraySource(images), 1, labels, classes)
    if scheme != "bundled":
        return None
    return _arrays(str(bundled_file(place, ".npz", "data", DataError)), f"bundled:{place}")


def _arrays(path: str, name: str | None = None) -> _Images:
    """The images of an ``.npz`` file, with what it records of them."""
    known = ("images", "labels", "classes", "mean", "std")
    arrays, names = read_npz(Path(path), known[:1], known)
    name = name or path
    unknown = sorted(set(names) - set(known))
    if "labels" not in arrays and unknown:  # then they may be there under another name
        raise DataError(
            f"{path} has no array labels; it has {', '.join(shown(there) for there in names)}. Call "
            f"them labels, or leave {shown(unknown[0])} out to go without"
        )
    images = channels_first(arrays["images"], name)
    recorded = None
    if "mean" in arrays and "std" in arrays:
        recorded = (
            _recorded(arrays["mean"], "mean", name),
            _recorded(arrays["std"], "std", name),
        )
    classes = _class_names(arrays["classes"], name) if "classes" in arrays else None
    return _Images(ArraySource(images), images.shape[1], arrays.get("labels"), classes, recorded)


def _class_names(names: NDArray[Any], where: str) -> tuple[str, ...]:
    if names.ndim != 1:
        raise DataError(f"{where}: classes must be a list of names, found shape {names.shape}")
    return tuple(shown(str(name)) for name in names)


def _recorded(numbers: NDArray[Any], what: str, where: str) -> Sequence[float]:
    if numbers.ndim != 1 or numbers.size > _MOST_CHANNELS:
        raise DataError(
            f"{where}: the {what} to normalise with must be a list of numbers, one per channel; found an "
            f"array of shape {numbers.shape}"
        )
    return numbers.tolist()
