"""Data sets in memory or on disk, as batches of normalised inputs and labels."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resanalysis.datasets.errors import DataError
from resanalysis.datasets.normalisation import checked_normalisation
from resanalysis.datasets.objects import Objects
from resanalysis.datasets.pixels import Pixels
from resanalysis.errors import printable
from resanalysis.network import Inputs

Labels = NDArray[np.int64]


class Source(Protocol):
    """Where examples come from: an array, or files read when they are needed."""

    def __len__(self) -> int: ...

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.generic]: ...

    def digest(self) -> str: ...


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Examples in memory (or mapped into it)."""

    array: NDArray[np.generic]

    def __len__(self) -> int:
        return len(self.array)

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.generic]:
        return self.array[indices]

    def digest(self) -> str:
        state = hashlib.sha256(f"{self.array.dtype}{self.array.shape}".encode())
        for start in range(0, len(self.array), 1024):
            state.update(np.ascontiguousarray(self.array[start : start + 1024]).tobytes())
        return state.hexdigest()


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples and labels in a fixed order.

    Attributes
    ----------
    name : what the user called it.
    source : uint8 images (N, C, H, W), or int64 token ids (N, T).
    labels : int64 (N,), or (N, H, W) of a segmentation, or ``None``, also where masks are read with the images.
    mean, std : per channel, of images scaled to [0, 1]; ``None`` for tokens.
    classes : their names, where the data has them.
    indices : which examples of the source, in order.
    subset : how they were chosen, for captions; empty if all are used.
    mask : attention mask (N, T) of tokens.
    scored : whether each token is the label of the one before it, as for a language model.
    targets : token ids (N, T) that are predicted instead, each after the place it is predicted at, −100
        elsewhere: of a text some of whose tokens are hidden.
    accepted : (N, classes), where an example has several right classes; ``labels`` has the first of each.
    objects : what is to be found in each image, where models are asked for that; then there are no labels.
    """

    name: str
    source: Source
    labels: Labels | None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    classes: tuple[str, ...] | None = None
    indices: NDArray[np.int64] = field(default_factory=lambda: np.arange(0))
    subset: str = ""
    mask: NDArray[np.int64] | None = None
    scored: bool = True
    targets: NDArray[np.int64] | None = None
    accepted: NDArray[np.bool_] | None = None
    objects: tuple[Objects, ...] | None = None

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def one_size(self) -> bool:
        """Whether several examples fit into one batch."""
        return getattr(self.source, "one_size", True)

    @property
    def of_pixels(self) -> bool:
        """Whether every pixel has a label: in ``labels``, or in masks that are read with the images."""
        if hasattr(self.source, "classes_of"):
            return True
        return self.labels is not None and self.labels.ndim == 3

    @property
    def labelled(self) -> bool:
        """Whether batches have labels, of images at least."""
        return self.labels is not None or self.of_pixels

    @property
    def pixels(self) -> Pixels | None:
        """How the images are resized and cropped; ``None`` of what is taken as it is."""
        found = getattr(self.source, "pixels", None)
        return found if isinstance(found, Pixels) else None

    @property
    def sha256(self) -> str:
        """Digest of the content, the normalisation and the choice of examples."""
        state = hashlib.sha256(self.source.digest().encode())
        state.update(repr((self.mean, self.std)).encode())
        state.update(self.indices.astype(np.int64).tobytes())
        if self.labels is not None:
            state.update(self.labels.tobytes())
        if self.mask is not None:
            state.update(self.mask.tobytes())
        # What is not there adds nothing, so that a digest recorded before there was such a field still holds.
        if self.accepted is not None:
            state.update(self.accepted.tobytes())
        if not self.scored:
            state.update(b"no labels")
        if self.targets is not None:
            state.update(b"targets" + self.targets.tobytes())
        for objects in self.objects or ():
            state.update(objects.digest())
        return state.hexdigest()

    def batch(self, start: int, stop: int) -> tuple[Inputs, Tensor | None]:
        """Examples ``start`` to ``stop``: images (N, C, H, W) of float32, or token inputs by name.

        Labels are whole numbers; booleans (N, classes) where an example has several right ones.
        """
        chosen = self.indices[start:stop]
        values = self.source.read(chosen)
        if self.mean is None or self.std is None:
            return self._tokens(values.astype(np.int64), start, stop)
        images = torch.from_numpy(np.ascontiguousarray(values)).float().div_(255)
        mean, std = (torch.tensor(value).view(1, -1, 1, 1) for value in (self.mean, self.std))
        return (images - mean) / std, self._labels(start, stop)

    def _labels(self, start: int, stop: int) -> Tensor | None:
        classes_of = getattr(self.source, "classes_of", None)
        if classes_of is not None:
            return torch.from_numpy(classes_of(self.indices[start:stop]))
        right = self.labels if self.accepted is None else self.accepted
        # A copy: a tensor on the data set's own memory could be written to by a metric.
        return None if right is None else torch.from_numpy(right[start:stop].copy())

    def _tokens(
        self, values: NDArray[np.int64], start: int, stop: int
    ) -> tuple[Inputs, Tensor | None]:
        tokens = torch.from_numpy(values)
        mask = None if self.mask is None else torch.from_numpy(self.mask[start:stop])
        inputs = {"input_ids": tokens} | ({} if mask is None else {"attention_mask": mask})
        if self.targets is not None:
            return inputs, torch.from_numpy(self.targets[start:stop].copy())
        if mask is None:
            return inputs, tokens if self.scored else None
        if not self.scored:
            return inputs, None
        hidden = mask == 0
        # What follows a masked position would be predicted from it, so it is no target either.
        hidden[:, 1:] |= mask[:, :-1] == 0
        return inputs, tokens.masked_fill(hidden, -100)

    def limited(self, n: int, seed: int = 0) -> Dataset:
        """A seeded subset of ``n`` examples in the original order: of labelled data with the classes
        in their proportions, of other data without regard to content.

        Raises
        ------
        DataError : if ``n`` is below 1 or ``seed`` below 0.
        """
        if n < 1:
            raise DataError(f"a subset of {n} examples is empty; --limit takes 1 or more")
        if seed < 0:
            raise DataError(f"a seed is 0 or more, found {seed}")
        if n >= len(self):
            return self
        generator = np.random.default_rng(seed)
        if self.labels is None or self.labels.ndim > 1:
            kind, kept = "random", generator.permutation(len(self))[:n]
        else:
            kind, kept = "stratified", _stratified(self.labels, n, generator)
        kept = np.sort(kept)
        told = f" ({self.subset})" if self.subset else ""
        return self.taken(kept, f"{kind} subset of {n} from {len(self)}{told}, seed {seed}")

    def taken(self, chosen: NDArray[Any], subset: str) -> Dataset:
        """The examples of a mask (N,) or of places (M,), with all that is known of each.

        Parameters
        ----------
        subset : what they are, in words.
        """
        objects = self.objects
        if objects is not None:
            objects = tuple(objects[place] for place in np.arange(len(self))[chosen])
        return replace(
            self,
            indices=self.indices[chosen],
            labels=None if self.labels is None else self.labels[chosen],
            mask=None if self.mask is None else self.mask[chosen],
            targets=None if self.targets is None else self.targets[chosen],
            accepted=None if self.accepted is None else self.accepted[chosen],
            objects=objects,
            subset=subset,
        )


def _stratified(labels: Labels, n: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """``n`` positions, each class in its proportion; the remainders go to the largest fractions."""
    classes, counts = np.unique(labels, return_counts=True)
    exact = n * counts / len(labels)
    share = np.floor(exact).astype(int)
    # Equal fractions in random order, or the first classes would always have one more.
    order = np.lexsort((generator.random(len(classes)), -(exact - share)))
    share[order[: n - share.sum()]] += 1
    return np.concatenate(
        [
            generator.permutation(np.flatnonzero(labels == label))[:count]
            for label, count in zip(classes, share, strict=True)
        ]
    )


def image_dataset(
    images: NDArray[np.uint8],
    labels: Sequence[int] | NDArray[np.integer] | None,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    classes: Sequence[str] | None = None,
    name: str = "array",
) -> Dataset:
    """A data set of images in memory.

    Parameters
    ----------
    images : uint8 (N, C, H, W), (N, H, W, C) or (N, H, W), with C of 1 or 3.
    labels : (N,) integers from 0, (N, H, W) where every pixel has one, or ``None``.
    mean, std : per channel, applied to images scaled to [0, 1].

    Raises
    ------
    DataError : if shapes, types or numbers do not fit; says which.
    """
    images = channels_first(np.asarray(images), name)
    return assembled(name, ArraySource(images), images.shape[1], labels, mean, std, classes)


def assembled(
    name: str,
    source: Source,
    channels: int,
    labels: Sequence[int] | NDArray[np.integer] | None,
    mean: Sequence[float],
    std: Sequence[float],
    classes: Sequence[str] | None,
) -> Dataset:
    """A checked image data set over any source."""
    mean, std = checked_normalisation(name, channels, mean, std)
    checked = None
    if labels is not None:
        checked = checked_labels(np.asarray(labels), len(source), classes, name)
    return Dataset(
        name=name,
        source=source,
        labels=checked,
        mean=mean,
        std=std,
        classes=None if classes is None else tuple(classes),
        indices=np.arange(len(source)),
    )


def channels_first(images: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """Images as (N, C, H, W), whichever of the three layouts they came in."""
    if images.dtype != np.uint8:
        raise DataError(
            f"{name}: images must be uint8 (0 to 255), found {images.dtype}; scale them back, or keep "
            "them as they were before any normalisation"
        )
    if images.size == 0:
        raise DataError(f"{name}: there are no images: the array has the shape {images.shape}")
    if not (images.ndim == 3 or (images.ndim == 4 and {images.shape[1], images.shape[3]} & {1, 3})):
        raise DataError(
            f"{name}: images must be N×C×H×W or N×H×W×C with 1 or 3 channels, or N×H×W, found "
            f"{'×'.join(str(size) for size in images.shape) or 'one number'}"
        )
    if _is_black_and_nearly_black(images):
        warnings.warn(
            printable(
                f"{name}: the images hold only 0 and 1 of 0 to 255, as images in 0 to 1 do after a cast to "
                "uint8; if they are such, multiply them by 255 first"
            ),
            stacklevel=2,
        )
    if images.ndim == 3:
        return images[:, None]
    return images if images.shape[1] in (1, 3) else images.transpose(0, 3, 1, 2)


def _is_black_and_nearly_black(images: NDArray[np.uint8]) -> bool:
    return all(images[start : start + 256].max() <= 1 for start in range(0, len(images), 256))


def checked_labels(
    labels: NDArray[np.generic], count: int, classes: Sequence[object] | None, name: str
) -> Labels:
    """Labels as int64 (N,), one per example and in range; or (N, H, W), one per pixel."""
    if labels.ndim not in (1, 3) or len(labels) != count or labels.size == 0:
        raise DataError(
            f"{name}: {count} images but labels of shape {labels.shape}; there is one label per image, "
            "or (N, H, W) one per pixel"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        found = "text" if labels.dtype.kind in "US" else str(labels.dtype)
        raise DataError(f"{name}: labels must be integers from 0, found {found}")
    if int(labels.max()) > np.iinfo(np.int64).max:
        raise DataError(f"{name}: labels run up to {labels.max()}, which is no class")
    if labels.ndim == 1:  # of pixels, numbers that are no class are left out when they are scored
        _check_range(int(labels.min()), int(labels.max()), classes, name)
    return labels.astype(np.int64)


def _check_range(lowest: int, highest: int, classes: Sequence[object] | None, name: str) -> None:
    if lowest < 0 or (classes is not None and highest >= len(classes)):
        allowed = "0 and up" if classes is None else f"0 to {len(classes) - 1}"
        raise DataError(f"{name}: labels run from {lowest} to {highest}, allowed are {allowed}")


def tell_of_classes(data: Dataset, outputs: int, model: str) -> None:
    """Warn where the data has another number of classes than the model outputs: labels 0, 1, 2… are
    then those of the model only if its first classes are the data's.
    """
    if data.classes is not None and len(data.classes) != outputs:
        warnings.warn(
            printable(
                f"{data.name} has {len(data.classes)} classes, {data.classes[0]} to {data.classes[-1]}, and "
                f"{model} {outputs} outputs: label 0 is taken for output 0, and so on; if the classes are "
                "others, accuracy and loss mean nothing"
            ),
            stacklevel=2,
        )
