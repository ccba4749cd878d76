"""Token ids in an ``.npz`` file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resanalysis.datasets.errors import DataError
from resanalysis.datasets.images import ArraySource, Dataset
from resanalysis.datasets.npz import read_npz

NO_LABELS = "?labels=none"


def token_dataset(place: str, *, scored: bool = True) -> Dataset:
    """Token ids (N, T), and their attention mask where there is one.

    Parameters
    ----------
    place : ``FILE.npz``; with ``?labels=none`` after it no token is a label for the one before it.
    scored : whether one is where that is not written.

    Raises
    ------
    DataError : if these are no token ids, or the mask hides what is to be predicted.
    """
    name, path = f"tokens:{place}", Path(place.removesuffix(NO_LABELS))
    scored = scored and not place.endswith(NO_LABELS)
    known = ("input_ids", "attention_mask")
    arrays, _ = read_npz(path, known[:1], known)
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
        mask=_mask(arrays.get("attention_mask"), tokens.shape, name, scored),
        scored=scored,
    )


def _mask(
    mask: NDArray[Any] | None, shape: tuple[int, ...], name: str, scored: bool
) -> NDArray[np.int64] | None:
    """The attention mask as int64 (N, T), 1 where there is a token."""
    if mask is None:
        return None
    if mask.shape != shape:
        raise DataError(f"{name}: attention_mask has shape {mask.shape}, input_ids {shape}")
    if mask.dtype.kind not in "buif" or not np.isin(mask, (0, 1)).all():
        raise DataError(f"{name}: attention_mask must hold 0 and 1, found {mask.dtype}")
    there = mask.astype(bool)
    empty = np.flatnonzero(~there.any(axis=1))
    if len(empty):
        raise DataError(
            f"{name}: {len(empty)} of {len(mask)} sequences are masked as a whole, first {empty[0]}; "
            "leave them out"
        )
    # Without a token to predict from the one before it, a sequence has no loss.
    alone = np.flatnonzero(~(there[:, 1:] & there[:, :-1]).any(axis=1))
    if scored and len(alone):
        raise DataError(
            f"{name}: {len(alone)} of {len(mask)} sequences have no two tokens side by side, first "
            f"{alone[0]}, so nothing to predict; leave them out"
        )
    return mask.astype(np.int64)
