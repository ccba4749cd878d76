"""A file or a name → images and labels, or token ids, as the model expects them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from resanalysis.datasets.errors import DataError
from resanalysis.datasets.formats import (
    FASHION_CLASSES,
    list_folder,
    read_cifar,
    read_mnist,
    read_npz,
)
from resanalysis.datasets.images import (
    ArraySource,
    Dataset,
    FileSource,
    assembled,
    channels_first,
    image_dataset,
)
from resanalysis.datasets.text import check_vocabulary, text_dataset

__all__ = [
    "NORMALISATIONS",
    "DataError",
    "Dataset",
    "check_vocabulary",
    "dataset",
    "image_dataset",
]

NORMALISATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "fashion-mnist": ((0.2860,), (0.3530,)),
    "none": ((0.0,), (1.0,)),
}


def dataset(
    spec: str | Path,
    *,
    normalize: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    limit: int | None = None,
    seed: int = 0,
    split: Literal["train", "test"] = "test",
    image_size: int = 224,
    tokenizer: str | Path | None = None,
    positions: int | None = None,
) -> Dataset:
    """Read a data set.

    Parameters
    ----------
    spec : ``FILE.npz`` (``images`` uint8, ``labels`` if there are any), ``bundled:NAME``, ``cifar10:DIR``,
        ``cifar100:DIR``, ``fashion-mnist:DIR``, ``folder:DIR`` (a folder per class, read as needed),
        ``tokens:FILE.npz`` (``input_ids`` (N, T), and ``attention_mask`` if there is one), or
        ``text:FILE`` (UTF-8; options after it as in ``text:FILE?length=64&by=line&tokenizer=DIR``).
    normalize : ``imagenet``, ``cifar10``, ``fashion-mnist`` or ``none`` (pixels in [0, 1]).
    mean, std : per channel, instead of ``normalize``.
    limit : keep a seeded subset of this many examples, the classes in their proportions.
    split : of the data sets that have a training and a test part.
    image_size : of ``folder:`` images: the middle square after resizing.
    tokenizer : of ``text:``: the folder of the model's tokenizer.
    positions : of ``text:``: the longest sequence the model takes; found in the tokenizer's folder if
        left out.

    Raises
    ------
    DataError : if the data cannot be read or used, or nothing says how to normalise it.
    """
    text = str(spec)
    scheme, _, place = text.partition(":")
    if split not in ("train", "test"):
        raise DataError(f"{text}: there is no part {split!r}; there are train and test")
    if image_size < 1:
        raise DataError(f"{text}: images of {image_size} pixels are empty")
    if scheme != "text" and (tokenizer, positions) != (None, None):
        raise DataError(f"{text}: a tokenizer is for plain text; name the data text:FILE")
    if scheme in {"tokens", "text"} and place:
        if scheme == "tokens":
            found = _tokens(Path(place), text)
        else:
            found = text_dataset(place, tokenizer=tokenizer, positions=positions)
        return found if limit is None else found.limited(limit, seed)
    recorded: tuple[Sequence[float], Sequence[float]] | None = None
    if scheme in {"cifar10", "cifar100"} and place:
        images, labels, classes = read_cifar(Path(place), 10 if scheme == "cifar10" else 100, split)
        source, channels = ArraySource(images), 3
    elif scheme in {"fashion-mnist", "mnist"} and place:
        images, labels, classes = read_mnist(Path(place), split)
        if scheme == "fashion-mnist":
            classes = FASHION_CLASSES
        source, channels = ArraySource(images), 1
    elif scheme == "folder" and place:
        paths, labels, classes = list_folder(Path(place))
        source, channels = FileSource(paths, image_size), 3
    else:
        path = _bundled(place) if scheme == "bundled" and place else Path(text)
        arrays = read_npz(path, ("images",))
        unknown = sorted(set(arrays) - {"images", "mean", "std", "classes"})
        if "labels" not in arrays and unknown:  # then they may be there under another name
            raise DataError(
                f"{path} has no array labels; it has {', '.join(arrays)}. Call them labels, or leave "
                f"{unknown[0]} out to go without"
            )
        images = channels_first(arrays["images"], text)
        source, channels, labels = ArraySource(images), images.shape[1], arrays.get("labels")
        classes = _class_names(arrays["classes"], text) if "classes" in arrays else None
        if "mean" in arrays and "std" in arrays:
            recorded = arrays["mean"].tolist(), arrays["std"].tolist()
    chosen = _normalisation(text, normalize, mean, std, recorded)
    found = assembled(text, source, channels, labels, *chosen, classes)
    return found if limit is None else found.limited(limit, seed)


def _class_names(names: NDArray[Any], where: str) -> tuple[str, ...]:
    if names.ndim != 1:
        raise DataError(f"{where}: classes must be a list of names, found shape {names.shape}")
    return tuple(str(name) for name in names)


def _normalisation(
    name: str,
    normalize: str | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    recorded: tuple[Sequence[float], Sequence[float]] | None,
) -> tuple[Sequence[float], Sequence[float]]:
    if (mean is None) != (std is None):
        raise DataError(f"{name}: a mean and a std belong together; give both or neither")
    if mean is not None and std is not None:
        if normalize is not None:
            raise DataError(
                f"{name}: normalize={normalize} and mean, std say the same thing; give one"
            )
        return mean, std
    if normalize is not None:
        if normalize not in NORMALISATIONS:
            raise DataError(
                f"no normalisation {normalize!r}; there are {', '.join(NORMALISATIONS)}, or give mean "
                "and std"
            )
        return NORMALISATIONS[normalize]
    if recorded is None:
        raise DataError(
            f"{name}: nothing records how the model's training images were normalised; say it with "
            "--normalize imagenet, cifar10, fashion-mnist or none, or with --mean and --std"
        )
    return recorded


def _bundled(name: str) -> Path:
    folder = files("resanalysis") / "bundled"
    path = Path(str(folder / f"{name}.npz"))
    if not path.is_file():
        there = sorted(e.name[:-4] for e in folder.iterdir() if e.name.endswith(".npz"))
        raise DataError(f"no data bundled:{name} ships; there are {', '.join(there)}")
    return path


def _tokens(path: Path, name: str) -> Dataset:
    arrays = read_npz(path, ("input_ids",))
    tokens = arrays["input_ids"]
    if tokens.ndim != 2 or not np.issubdtype(tokens.dtype, np.integer) or tokens.size == 0:
        raise DataError(
            f"{name}: input_ids must be integers (N, T), found {tokens.dtype} {tokens.shape}"
        )
    lowest, highest = int(tokens.min()), int(tokens.max())
    if lowest < 0 or highest > np.iinfo(np.int64).max:
        raise DataError(f"{name}: input_ids run from {lowest} to {highest}; token ids start at 0")
    return Dataset(
        name=name,
        source=ArraySource(tokens.astype(np.int64)),
        labels=None,
        indices=np.arange(len(tokens)),
        mask=_mask(arrays.get("attention_mask"), tokens.shape, name),
    )


def _mask(mask: NDArray[Any] | None, shape: tuple[int, ...], name: str) -> NDArray[np.int64] | None:
    """The attention mask as int64 (N, T), 1 where there is a token."""
    if mask is None:
        return None
    if mask.shape != shape:
        raise DataError(f"{name}: attention_mask has shape {mask.shape}, input_ids {shape}")
    if mask.dtype.kind not in "buif" or not np.isin(mask, (0, 1)).all():
        raise DataError(f"{name}: attention_mask must hold 0 and 1, found {mask.dtype}")
    empty = np.flatnonzero(~mask.astype(bool).any(axis=1))
    if len(empty):
        raise DataError(
            f"{name}: {len(empty)} of {len(mask)} sequences are masked as a whole, first {empty[0]}; "
            "leave them out"
        )
    # Without a token to predict from the one before it, a sequence has no loss.
    alone = np.flatnonzero(~(mask.astype(bool)[:, 1:] & mask.astype(bool)[:, :-1]).any(axis=1))
    if len(alone):
        raise DataError(
            f"{name}: {len(alone)} of {len(mask)} sequences have no two tokens side by side, first "
            f"{alone[0]}, so nothing to predict; leave them out"
        )
    return mask.astype(np.int64)
