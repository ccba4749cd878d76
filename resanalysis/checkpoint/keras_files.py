"""A file of Keras → its model, after its description was looked at: nothing that it brings is run."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from resanalysis.checkpoint.errors import CheckpointError, first_line
from resanalysis.checkpoint.reading import too_large
from resanalysis.errors import out_of_memory, shown

SUFFIXES = (".keras", ".h5", ".hdf5")
MOST_DESCRIBED = 64 * 2**20
"""Bytes of a description; ResNet-152's has half a million."""

_ROOMS = (
    "keras.layers",
    "keras.initializers",
    "keras.regularizers",
    "keras.constraints",
    "keras.dtype_policies",
    "keras.models",
    "keras.src.models",
    "keras.src.layers",
    "keras.src.dtype_policies",
    "keras.src.ops",
    "keras.ops",
    "keras.src.applications",
)
# They run code of the file, of another library, or open files and addresses that it names.
_PROGRAMS = {
    "Lambda",
    "__lambda__",
    "function",
    "TorchModuleWrapper",
    "TFSMLayer",
    "JaxLayer",
    "FlaxLayer",
    "StringLookup",
    "IntegerLookup",
    "TextVectorization",
    "IndexLookup",
}


def model_of_file(path: Path, keras: Any, trust_pickle: bool) -> Any:
    """The model that ``model.save`` wrote, without its optimiser.

    Raises
    ------
    CheckpointError : if it is damaged, holds weights alone, or brings code and is not trusted.
    """
    described = _description(path)
    if not trust_pickle:
        _check(path, described)
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=not trust_pickle)
    except Exception as error:
        if out_of_memory(error):
            raise too_large(path) from None
        raise CheckpointError(
            f"{path} cannot be loaded by Keras {keras.__version__}: {type(error).__name__}: "
            f"{first_line(error)}; a model with layers of your own is python:MODULE:FACTORY"
        ) from None


def _description(path: Path) -> Any:
    """What a file says of the layers of its model."""
    try:
        text = _text_of_keras(path) if zipfile.is_zipfile(path) else _text_of_hdf5(path)
        described = None if text is None else json.loads(text)
    except (
        OSError,
        ValueError,
        KeyError,
        RuntimeError,
        zipfile.BadZipFile,
        RecursionError,
    ) as error:
        raise CheckpointError(
            f"{path} is no readable Keras model ({path.stat().st_size:,} bytes): {first_line(error)}"
        ) from None
    if not isinstance(described, dict):
        raise CheckpointError(
            f"{path} holds weights without the model that they belong to: save it with model.save(), or "
            "make and fill it in a function, python:MODULE:FACTORY"
        )
    return described


def _text_of_keras(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo("config.json").file_size > MOST_DESCRIBED:
            raise ValueError(f"its description has more than {MOST_DESCRIBED:,} bytes")
        return archive.read("config.json").decode()


def _text_of_hdf5(path: Path) -> str | None:
    import h5py

    with h5py.File(path, "r") as file:
        found = file.attrs.get("model_config")
    return found.decode() if isinstance(found, bytes) else found


def _check(path: Path, described: Any) -> None:
    """Refuse what is more than layers of Keras' own.

    Raises
    ------
    CheckpointError : naming the first such thing.
    """
    for entry in _entries(described):
        kind, room = entry.get("class_name"), entry.get("module")
        if kind in _PROGRAMS:
            raise CheckpointError(
                f"{path} holds a {kind} layer ({shown(_name_of(entry))}), which can run code or open other "
                "files; nothing of it was run. Save the model without it, or, if you trust whoever made "
                "it, add --trust-pickle"
            )
        if room is not None and not _is_keras(room):
            raise CheckpointError(
                f"{path} names {shown(kind)} of {shown(room)}, which is no layer of Keras; nothing of it was "
                "run. Save the model without it, or, if you trust whoever made it, add --trust-pickle"
            )


def _entries(described: Any) -> Iterator[dict[str, Any]]:
    """Everything in a description that names a class."""
    todo = [described]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            if isinstance(value.get("class_name"), str) or "module" in value:
                yield value
            # What it was trained with is not read.
            todo.extend(inner for key, inner in value.items() if key != "compile_config")
        elif isinstance(value, list):
            todo.extend(value)


def _is_keras(room: object) -> bool:
    if not isinstance(room, str):
        return False
    within = any(room == own or room.startswith(f"{own}.") for own in _ROOMS)
    return within or room in {"keras", "builtins"}


def _name_of(entry: dict[str, Any]) -> str:
    config = entry.get("config")
    name = config.get("name") if isinstance(config, dict) else None
    return str(name or entry.get("name") or "unnamed")
