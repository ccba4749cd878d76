"""A file of Keras → its model, after all of it was looked at: nothing that it brings is run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from resanalysis.checkpoint import hdf5_look
from resanalysis.checkpoint.errors import CheckpointError, first_line
from resanalysis.checkpoint.reading import too_large
from resanalysis.errors import out_of_memory, shown

SUFFIXES = (".keras", ".h5", ".hdf5")
MOST_UNPACKED, LEAST_UNPACKED = 10, 64 * 2**20
"""Times the size of a file that it may hold unpacked, and bytes that any may: weights hardly compress."""
MOST_DESCRIBED = 16 * 2**20
"""Bytes of a description; ResNet-152's has half a million."""
LONGEST_LOOK, SLOWEST_READ = 5, 10**7
"""Seconds of a processor after which a file is given up, and bytes that a second more is given for."""

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
    CheckpointError : if it is damaged, holds weights alone, describes more than it holds, or brings code
        and is not trusted.
    """
    described = _description(path)
    if not trust_pickle:
        _check(path, described)
    try:
        if not trust_pickle:
            # Without memory: what is described must have the shapes of what is there, or it is not made.
            with keras.device("meta"):
                keras.saving.load_model(path, compile=False, safe_mode=True)
        return keras.saving.load_model(path, compile=False, safe_mode=not trust_pickle)
    except Exception as error:
        if out_of_memory(error):
            raise too_large(path) from None
        raise CheckpointError(
            f"{path} cannot be loaded by Keras {keras.__version__}: {type(error).__name__}: "
            f"{first_line(error)}; a model with layers of your own is python:MODULE:FACTORY"
        ) from None


def _description(path: Path) -> dict[str, Any]:
    """What a file says of the layers of its model."""
    found = _looked_at(path)
    if "problem" in found:
        raise _unreadable(path, found["problem"])
    text = found["description"]
    if text is not None and len(text) > MOST_DESCRIBED:
        raise _unreadable(path, f"its description has more than {MOST_DESCRIBED:,} characters")
    try:
        described = None if text is None else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, first_line(error)) from None
    if not isinstance(described, dict):
        raise CheckpointError(
            f"{path} holds weights without the model that they belong to: save it with model.save(), or "
            "make and fill it in a function, python:MODULE:FACTORY"
        )
    return described


def _looked_at(path: Path) -> dict[str, Any]:
    """What ``hdf5_look`` says of a file, or what became of it."""
    size = path.stat().st_size
    most = max(LEAST_UNPACKED, MOST_UNPACKED * size)
    seconds = int(LONGEST_LOOK + size / SLOWEST_READ)
    command = [sys.executable, "-P", hdf5_look.__file__, str(path), str(most), str(seconds)]
    # Where processor time cannot be limited (Windows), the clock ends it.
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=30 * seconds)
    except subprocess.TimeoutExpired:
        raise _unreadable(path, "the HDF5 library comes to no end with it") from None
    if ran.returncode:
        raise _unreadable(path, _how_it_ended(ran.returncode))
    return json.loads(ran.stdout)


def _how_it_ended(code: int) -> str:
    if code == -getattr(signal, "SIGXCPU", 0):
        return "the HDF5 library comes to no end with it"
    return f"the HDF5 library ends with {f'signal {-code}' if code < 0 else f'code {code}'} on it"


def _unreadable(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is no readable Keras model ({path.stat().st_size:,} bytes): {why}; save it again with "
        "model.save(), or copy it again"
    )


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
