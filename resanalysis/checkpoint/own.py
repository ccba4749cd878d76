"""Our own kind of checkpoint, which records architecture, preprocessing, classes and history."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from resanalysis.checkpoint.errors import CheckpointError, damaged
from resanalysis.checkpoint.filling import filled, named
from resanalysis.checkpoint.info import DataRecord, ModelInfo, Preprocessing, Sample
from resanalysis.checkpoint.state import check_plain
from resanalysis.checkpoint.tested import record_of, recorded_in, sample_in, tested_in
from resanalysis.datasets.pixels import INTERPOLATIONS, MOST_PIXELS, Pixels
from resanalysis.errors import quoted, shown
from resanalysis.models.architecture import Architecture
from resanalysis.models.families import FAMILIES
from resanalysis.models.saving import save_tensors

_FORMAT = "resanalysis-checkpoint"
_VERSION = 1
# Options of other libraries' constructors that fetch or open something instead of shaping the model.
_REACHING_OUT = ("weights", "pretrained", "checkpoint", "path", "url", "file", "dir")
_LONGEST_OPTION = 64
_LARGEST_OPTION = 4096
_LARGEST_SIDE = 1 << 16


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    *,
    architecture: Architecture,
    preprocessing: Preprocessing | None = None,
    classes: Sequence[str] | None = None,
    tested: DataRecord | None = None,
    sample: Sample | None = None,
    half: bool = False,
    **facts: Any,
) -> Path:
    """Write our own kind of checkpoint, which loads with no further argument.

    Parameters
    ----------
    tested : the data the model was tested on, so that it may be found again.
    sample : examples of it for the file to carry.
    half : store floats in half precision; they are single again when loaded.
    facts : recipe, seed, history, measured…: plain values, kept as they are.
    """
    path = Path(path)
    state = {
        key: value.detach().cpu().half() if half and value.is_floating_point() else value.cpu()
        for key, value in model.state_dict().items()
    }
    content: dict[str, Any] = {
        "format": _FORMAT,
        "version": _VERSION,
        "architecture": {"name": architecture.name, "options": dict(architecture.options)},
        "state_dict": state,
        "classes": None if classes is None else list(classes),
        **record_of(tested, sample),
        **facts,
    }
    if preprocessing is not None:
        content["preprocessing"] = {
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "input_size": list(preprocessing.input_size or ()),
            "pixels": None if preprocessing.pixels is None else preprocessing.pixels.facts(),
        }
    save_tensors(content, path)
    return path


def is_own(content: Any) -> bool:
    """Whether what a file holds is our own kind of checkpoint."""
    return isinstance(content, Mapping) and content.get("format") == _FORMAT


def load_own(
    path: Path, content: Mapping[str, Any], digest: str, arch: str | None
) -> tuple[nn.Module, ModelInfo]:
    """The model of our own kind of checkpoint.

    Raises
    ------
    CheckpointError : if the file's record is incomplete, or if ``arch`` is another than it records.
    """
    version = content.get("version")
    if type(version) is not int or version != _VERSION:
        raise CheckpointError(
            f"{path} is a checkpoint of version {shown(version)}, this resanalysis reads version "
            f"{_VERSION}; update resanalysis, or save its state_dict alone"
        )
    state = _state(path, content)
    architecture = _architecture(path, content, state)
    if arch is not None and str(named(arch, state)) != str(architecture):
        raise CheckpointError(
            f"{path} records that it is {architecture}, and --arch says {arch}; leave --arch out"
        )
    model = filled(architecture, state, path, named=True)
    tested = tested_in(path, content.get("test_data"))
    return model, ModelInfo(
        path.stem,
        str(architecture),
        _preprocessing(path, content.get("preprocessing")),
        _classes(path, content.get("classes")),
        digest,
        built=architecture,
        tested=tested,
        sample=sample_in(path, content.get("sample")),
        recorded=recorded_in(path, content, tested),
    )


def _state(path: Path, content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors, those stored in half precision in single again."""
    state = _field(path, content, "state_dict", Mapping, "tensors")
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise damaged(path, "state_dict", "tensors by name", state)
    check_plain(state, path)
    return {
        key: value.float() if value.dtype is torch.float16 else value
        for key, value in cast(Mapping[str, Tensor], state).items()
    }


def _classes(path: Path, names: Any) -> tuple[str, ...] | None:
    if names is None:
        return None
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise damaged(path, "classes", "a list of names", names)
    return tuple(shown(name) for name in names)


def _architecture(
    path: Path, content: Mapping[str, Any], state: Mapping[str, Tensor]
) -> Architecture:
    record = _field(path, content, "architecture", Mapping, "a name and options")
    name, options = record.get("name"), record.get("options", {})
    if not isinstance(name, str):
        raise damaged(path, "architecture.name", "a text", name)
    if not isinstance(options, Mapping) or not all(isinstance(key, str) for key in options):
        raise damaged(path, "architecture.options", "values by name", options)
    for key, value in options.items():
        _check_option(path, key, value, state)
    if name in FAMILIES and "depth" not in options:
        raise damaged(path, "architecture.options.depth", "a whole number", None)
    depth = options.get("depth", 0)
    if isinstance(depth, int) and depth > len(state):  # each layer has a tensor of weights or more
        raise CheckpointError(
            f"{path} records {shown(depth)} layers and holds {len(state)} tensors; it is damaged"
        )
    return Architecture(name, dict(options))


def _check_option(path: Path, key: str, value: Any, state: Mapping[str, Tensor]) -> None:
    """Refuse an option that reads something, is no plain value, or makes a model the file cannot fill."""
    field = f"architecture.options.{shown(key)}"
    if any(word in key for word in _REACHING_OUT):
        raise CheckpointError(
            f"{path}: its architecture has the option {shown(key)}={quoted(value)}, which "
            "would read something other than this file; nothing was read. Write it without"
        )
    parts = _plain_parts(path, field, value)
    # Whatever an option means, each number of channels or classes is a dimension of some tensor.
    most = max(_LARGEST_OPTION, *(size for tensor in state.values() for size in tensor.shape))
    if key != "depth" and any(isinstance(part, int) and part > most for part in parts):
        raise damaged(path, field, f"{most} or less", value)


def _plain_parts(path: Path, field: str, value: Any) -> list[Any]:
    """What an option consists of: its one plain value, or those in a short list."""
    parts: list[Any] = list(value) if isinstance(value, list | tuple) else [value]
    plain = all(isinstance(part, str | int | float | None) for part in parts)
    if len(parts) > _LONGEST_OPTION or not plain:
        raise damaged(path, field, "a plain value or a short list", value)
    return parts


def _preprocessing(path: Path, record: Any) -> Preprocessing | None:
    if record is None or record == {}:
        return None
    if not isinstance(record, Mapping):
        raise damaged(path, "preprocessing", "mean and std", record)
    mean, std = (_numbers(path, record, name) for name in ("mean", "std"))
    if min(std) <= 0:
        raise damaged(path, "preprocessing.std", "numbers above 0", record["std"])
    size = record.get("input_size")
    if size is None or size in ((), []):
        return Preprocessing(mean, std)
    sizes = _sides(path, record, "input_size")
    return Preprocessing(mean, std, sizes, _pixels(path, record.get("pixels")))


def _pixels(path: Path, record: Any) -> Pixels | None:
    if record is None:
        return None
    if not isinstance(record, Mapping):
        raise damaged(path, "preprocessing.pixels", "sizes and an interpolation", record)
    how, tensor = record.get("interpolation"), record.get("resized_as")
    if how not in INTERPOLATIONS:
        raise damaged(path, "preprocessing.pixels.interpolation", "a known one", how)
    if tensor not in ("tensor", "picture"):
        raise damaged(path, "preprocessing.pixels.resized_as", "tensor or picture", tensor)
    size = _sides(path, record, "image_size", "pixels.")
    resize = record.get("resize")
    if isinstance(resize, int) and not isinstance(resize, bool):
        resize = [resize]
    wanted = list(_sides(path, {"resize": resize}, "resize", "pixels."))
    if len(size) != 2 or len(wanted) > 2:
        raise damaged(path, "preprocessing.pixels.image_size", "a height and a width", size)
    if max(*size, *wanted) > MOST_PIXELS:
        raise damaged(path, "preprocessing.pixels", f"sides of {MOST_PIXELS} or less", wanted)
    return Pixels(
        (size[0], size[1]),
        wanted[0] if len(wanted) == 1 else (wanted[0], wanted[1]),
        str(how),
        tensor == "tensor",
        said_by="recorded by the checkpoint",
    )


def _sides(path: Path, record: Mapping[str, Any], name: str, within: str = "") -> tuple[int, ...]:
    numbers = _numbers(path, record, name, within)
    if not all(0 < number <= _LARGEST_SIDE and number % 1 == 0 for number in numbers):
        raise damaged(path, f"preprocessing.{within}{name}", "whole numbers", numbers)
    return tuple(int(number) for number in numbers)


def _numbers(
    path: Path, record: Mapping[str, Any], name: str, within: str = ""
) -> tuple[float, ...]:
    values = record.get(name)
    if not isinstance(values, list | tuple) or not 0 < len(values) <= _LONGEST_OPTION:
        raise damaged(path, f"preprocessing.{within}{name}", "a list of numbers", values)
    if not all(_is_number(value) for value in values):
        raise damaged(path, f"preprocessing.{within}{name}", "a list of numbers", values)
    return tuple(values)


def _is_number(value: Any) -> bool:
    # A whole number of Python's may be larger than any float.
    if isinstance(value, int):
        return abs(value) < 2**53
    return isinstance(value, float) and math.isfinite(value)


def _field(path: Path, content: Mapping[str, Any], name: str, kind: type, wanted: str) -> Any:
    value = content.get(name)
    if not isinstance(value, kind):
        raise damaged(path, name, wanted, value)
    return value
