"""A ``torch.export`` archive → a module, without running anything the archive brings.

``torch.export.load`` unpickles and evaluates parts of the file. So a new archive is written in memory
from what was looked at one by one, and only that is loaded: raw weights as they are, pickled tensors
read with ``weights_only`` and pickled again, the graph as ``archive_graph`` leaves it. Example inputs,
guards and extra files are left out. Nothing of the file itself reaches torch's loader.

Source: torch/export/pt2_archive/_package.py (torch 2.14).
"""

from __future__ import annotations

import io
import json
import math
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resanalysis.checkpoint.archive_graph import UnsafeError, vetted_graph
from resanalysis.checkpoint.errors import CheckpointError, first_line
from resanalysis.checkpoint.reading import too_large
from resanalysis.checkpoint.records import check_archive, check_sizes
from resanalysis.errors import ResanalysisError, out_of_memory, shown

_GRAPH = "models/model.json"
_CONFIGS = (
    "data/weights/model_weights_config.json",
    "data/constants/model_constants_config.json",
)
_WHOLE_PICKLES = ("data/weights/model.pt", "data/constants/model.pt")  # torch 2.7 and before
_IGNORED = {
    *("archive_format", "archive_version", "byteorder", ".format_version", ".storage_alignment"),
    *("version", ".data/version", ".data/serialization_id", "data/sample_inputs/model.pt"),
}
_TENSOR = re.compile(r"(?:weight|tensor)_\d+")
# The archives of torch 2.7 and before are bare zip files with other names.
_OLD_NAMES = {
    "serialized_exported_program.json": _GRAPH,
    "serialized_state_dict.pt": _WHOLE_PICKLES[0],
    "serialized_constants.pt": _WHOLE_PICKLES[1],
    "serialized_example_inputs.pt": "data/sample_inputs/model.pt",
}


def load_archive(path: Path, trust_pickle: bool) -> nn.Module:
    """The module of a ``.pt2`` file, on the CPU, in the mode it was exported in.

    Parameters
    ----------
    path : the file.
    trust_pickle : load the file as it is, which can run any code it likes.

    Raises
    ------
    CheckpointError : if it is no archive, or holds what could run code; names the entry.
    """
    try:
        module = torch.export.load(path).module() if trust_pickle else _loaded(rewritten(path))
    except UnsafeError as error:
        raise CheckpointError(
            f"{path} holds {error}, which could run code; nothing of it was run. Save the model's "
            "state dict instead, or, if you trust whoever made the file, add --trust-pickle"
        ) from None
    except ModuleNotFoundError as error:
        raise CheckpointError(
            f"{path}: reading archives without --trust-pickle needs torch 2.9 or later ({error}); save "
            "the model's state dict instead"
        ) from None
    except Exception as error:
        if out_of_memory(error):
            raise too_large(path) from None
        raise CheckpointError(
            f"{path} is no readable torch.export archive: {type(error).__name__}: "
            f"{first_line(error)}"
        ) from None
    # An exported module refuses eval(); it is in the mode it was exported in.
    module.eval = lambda: module  # type: ignore[method-assign]
    module.train = lambda mode=True: module  # type: ignore[method-assign]
    return module


def _loaded(archive: bytes) -> nn.Module:
    # torch.export.load hides the reason of a failure behind a logged warning.
    from torch.export.pt2_archive._package import load_pt2

    program = load_pt2(io.BytesIO(archive)).exported_programs["model"]
    return program.module(check_guards=False)


def rewritten(path: Path) -> bytes:
    """An archive with the same graph and tensors, made of nothing that could run code.

    Raises
    ------
    UnsafeError : if an entry could run code and is needed.
    """
    from torch.export.pt2_archive import PT2ArchiveWriter

    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as archive, PT2ArchiveWriter(buffer) as writer:
        entries = _entries(archive)
        # Before anything is read: memory is taken by what entries claim, not by what they hold.
        check_sizes(archive.infolist(), path.stat().st_size)
        if _GRAPH not in entries:
            raise ResanalysisError(f"it has no {_GRAPH}")
        # Whether what is written is a pickle, by the names of the entries to write.
        pickled: dict[str, bool] = dict.fromkeys(_WHOLE_PICKLES, True)
        for name in (_GRAPH, *_CONFIGS):
            if name in entries:
                document = _document(name, archive.read(entries[name]))
                writer.write_bytes(name, json.dumps(document).encode())
                if name != _GRAPH:
                    pickled |= _payloads(name, document, entries)
        for name, entry in entries.items():
            if name in pickled:
                content = archive.read(entry)
                writer.write_bytes(name, _repickled(name, content) if pickled[name] else content)
        writer.write_bytes("data/sample_inputs/model.pt", b"")
    return buffer.getvalue()


def _entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The entries of one exported program, by their names below the archive's root folder."""
    found: dict[str, zipfile.ZipInfo] = {}
    if not any(name.endswith((_GRAPH, *_OLD_NAMES)) for name in archive.namelist()):
        raise ResanalysisError(f"it has no {_GRAPH}; files of torch.save are named .pt")
    old = "serialized_exported_program.json" in archive.namelist()
    for entry in archive.infolist():
        name = entry.filename
        name = _OLD_NAMES.get(name, name) if old else name.partition("/")[2]
        folder, _, last = name.rpartition("/")
        known = (
            name in {_GRAPH, *_CONFIGS, *_WHOLE_PICKLES, *_IGNORED}
            or name.startswith(("extra/", "extra_files/"))
            or (folder in {"data/weights", "data/constants"} and _TENSOR.fullmatch(last))
        )
        if not known:
            raise UnsafeError(f"the entry {shown(entry.filename)!r}")
        # Of two entries of one name the last counts. It alone is written, so that torch sees what was looked
        # at.
        found[name] = entry
    return found


def _document(name: str, content: bytes) -> Any:
    try:
        return vetted_graph(json.loads(content))
    except UnsafeError as error:
        raise UnsafeError(f"{error} in its entry {name!r}") from None


def _payloads(config: str, document: Any, entries: dict[str, zipfile.ZipInfo]) -> dict[str, bool]:
    """The entries a configuration names, and whether they are pickles."""
    pickled: dict[str, bool] = {}
    for meaning, payload in document["config"].items():
        if not _TENSOR.fullmatch(payload["path_name"]):
            raise UnsafeError(f"{meaning}, an object that is no tensor,")
        name = f"{config.rpartition('/')[0]}/{payload['path_name']}"
        pickled[name] = bool(payload["use_pickle"]) or pickled.get(name, False)
        if not pickled[name]:
            sizes = [size["as_int"] for size in payload["tensor_meta"]["sizes"]]
            if entries[name].file_size == 0 and math.prod(sizes) > 0:  # torch would read zeros
                raise ResanalysisError(f"its entry {name!r} of {meaning} is empty")
    return pickled


def _repickled(name: str, content: bytes) -> bytes:
    """A pickle of a tensor, or of tensors by name, written anew."""
    if not content:
        return content
    # A pickle of torch.save is an archive in the archive, with claims of its own.
    if zipfile.is_zipfile(io.BytesIO(content)):
        check_archive(io.BytesIO(content), len(content))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:
        raise UnsafeError(f"a pickle of more than tensors in its entry {name!r}") from None
    tensors = value if isinstance(value, dict) else {"": value}
    if not all(isinstance(k, str) and isinstance(tensor, Tensor) for k, tensor in tensors.items()):
        raise UnsafeError(f"a pickle of more than tensors in its entry {name!r}")
    vetted_graph(dict.fromkeys(tensors))  # their names are paths of attributes, as in the graph
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()
