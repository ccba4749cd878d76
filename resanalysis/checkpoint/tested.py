"""What a model was tested on: recorded in our own checkpoints, and a sample of it that they carry."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resanalysis.checkpoint.errors import damaged
from resanalysis.checkpoint.info import DataRecord, Recorded, Sample
from resanalysis.checkpoint.state import check_plain
from resanalysis.datasets import Dataset
from resanalysis.errors import shown

MOST_EXAMPLES = 2000
_MOST_COUNTED = 2**53


def sample_of(data: Dataset, most_bytes: int, *, limit: int | None = None, seed: int = 0) -> Sample:
    """Examples of a data set for a checkpoint to carry, the classes in their proportions.

    Parameters
    ----------
    data : of images.
    most_bytes : how much they may take as they are stored; one example is kept however large it is.
    limit : how many examples, instead of as many as fit, at most 2,000.
    seed : chooses them.
    """
    chosen = data.limited(limit or _fitting(data, most_bytes), seed)
    images = np.ascontiguousarray(chosen.source.read(chosen.indices), dtype=np.uint8)
    return Sample(images, chosen.labels, chosen.subset)


def _fitting(data: Dataset, most_bytes: int) -> int:
    each = data.source.read(data.indices[:1]).nbytes
    if data.labels is not None:
        each += data.labels[:1].nbytes
    count = max(1, min(len(data), MOST_EXAMPLES, most_bytes // each))
    if data.labels is None or data.labels.ndim > 1 or count == len(data):
        return count
    # Of data with as many examples of each class, the sample has as many of each too.
    classes = len(np.unique(data.labels))
    return count - count % classes if count > classes else count


def record_of(tested: DataRecord | None, sample: Sample | None) -> dict[str, Any]:
    """The fields of a checkpoint: plain values and tensors."""
    record: dict[str, Any] = {}
    if tested is not None:
        record["test_data"] = {
            "source": tested.source,
            "split": tested.split,
            "sha256": tested.sha256,
            "n": tested.n,
        }
    if sample is not None:
        # Copies: a tensor that is a part of a larger one would be stored with the whole of it.
        record["sample"] = {
            "images": torch.from_numpy(sample.images.copy()),
            "labels": None if sample.labels is None else torch.from_numpy(sample.labels.copy()),
            "chosen": sample.chosen,
        }
    return record


def tested_in(path: Path, record: Any) -> DataRecord | None:
    """The test data that a checkpoint records.

    Raises
    ------
    CheckpointError : naming the first value that is of another kind than we write.
    """
    if record is None:
        return None
    if not isinstance(record, Mapping):
        raise damaged(path, "test_data", "a source and its sha256", record)
    source, split, sha256, n = (record.get(key) for key in ("source", "split", "sha256", "n"))
    if not isinstance(source, str) or not source:
        raise damaged(path, "test_data.source", "a text", source)
    if not isinstance(split, str) or split not in ("train", "test"):
        raise damaged(path, "test_data.split", "train or test", split)
    if not isinstance(sha256, str) or not re.fullmatch("[0-9a-f]{64}", sha256):
        raise damaged(path, "test_data.sha256", "64 hexadecimal digits", sha256)
    if type(n) is not int or not 0 < n < _MOST_COUNTED:
        raise damaged(path, "test_data.n", "a number of examples", n)
    return DataRecord(shown(source, 500), split, sha256, n)


def recorded_in(
    path: Path, content: Mapping[str, Any], tested: DataRecord | None
) -> Recorded | None:
    """The error that a checkpoint says its model had: on its sample, else when it was trained.

    Raises
    ------
    CheckpointError : naming the first value that is no error or no number of examples.
    """
    of = "its test data" if tested is None else tested.source
    packed, measured = _within(content, "packed"), _within(content, "measured")
    if packed.get("score"):
        score = packed["score"]
        if not isinstance(score, Mapping):
            raise damaged(path, "packed.score", "an error and its n", score)
        return _recorded(path, "packed.score", score.get("error"), score.get("n"), of)
    if "test_error" in measured:
        of = shown(str(measured.get("data", of)))
        return _recorded(path, "measured", measured["test_error"], measured.get("n"), of)
    history = content.get("history")
    last = _within(dict(enumerate(history[-1:])), 0) if isinstance(history, list | tuple) else {}
    if "test_error" in last and tested is not None and tested.n:
        return _recorded(path, "history", last["test_error"], tested.n, of)
    return None


def _within(content: Mapping[Any, Any], key: Any) -> Mapping[Any, Any]:
    """What is under a key; empty where that is no mapping, as in files of others."""
    found = content.get(key)
    return found if isinstance(found, Mapping) else {}


def _recorded(path: Path, field: str, error: Any, n: Any, of: str) -> Recorded:
    if not isinstance(error, int | float) or not 0 <= error <= 1:
        raise damaged(path, f"{field}, the error in it,", "a number from 0 to 1", error)
    if type(n) is not int or not 0 < n < _MOST_COUNTED:
        raise damaged(path, f"{field}.n", "a number of examples", n)
    return Recorded(float(error), n, of)


def sample_in(path: Path, record: Any) -> Sample | None:
    """The examples that a checkpoint carries.

    Raises
    ------
    CheckpointError : naming the first value that is no such tensor as we write.
    """
    if record is None:
        return None
    if not isinstance(record, Mapping):
        raise damaged(path, "sample", "images and labels", record)
    images, labels, chosen = (record.get(key) for key in ("images", "labels", "chosen"))
    if not isinstance(chosen, str):
        raise damaged(path, "sample.chosen", "a text", chosen)
    images = _tensor(path, "sample.images", images, torch.uint8, "N×C×H×W bytes")
    if images.ndim != 4 or images.shape[1] not in (1, 3) or images.numel() == 0:
        raise damaged(path, "sample.images", "N×C×H×W of 1 or 3 channels", _shape(images))
    if labels is not None:
        labels = _labels_of(path, images, labels).numpy()
    return Sample(images.numpy(), labels, shown(chosen, 200))


def _labels_of(path: Path, images: Tensor, value: Any) -> Tensor:
    labels = _tensor(path, "sample.labels", value, torch.int64, "N whole numbers")
    if labels.shape not in ((len(images),), (len(images), *images.shape[2:])):
        raise damaged(path, "sample.labels", "one per image, or per pixel", _shape(labels))
    if labels.ndim == 1 and int(labels.min()) < 0:
        raise damaged(path, "sample.labels", "0 or more", int(labels.min()))
    return labels


def _tensor(path: Path, field: str, value: Any, dtype: torch.dtype, wanted: str) -> Tensor:
    if not isinstance(value, Tensor):
        raise damaged(path, field, wanted, value)
    check_plain({field: value}, path)
    if value.dtype is not dtype:
        raise damaged(path, field, wanted, str(value.dtype)[6:])
    return value


def _shape(tensor: Tensor) -> str:
    return "×".join(str(size) for size in tensor.shape) or "one number"


def ships_with(name: str) -> DataRecord | None:
    """The data that ships beside a bundled network."""
    text = (files("resanalysis") / "bundled" / "test-data.json").read_text(encoding="utf-8")
    source = json.loads(text).get(name)
    return None if source is None else DataRecord(source)
