"""A file or a name → a trained model in eval mode, without running anything the file brings."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from resanalysis.checkpoint.archive import load_archive
from resanalysis.checkpoint.errors import CheckpointError
from resanalysis.checkpoint.filling import check_finite
from resanalysis.checkpoint.fit import check_fit, taken_by
from resanalysis.checkpoint.hub import found
from resanalysis.checkpoint.info import DataRecord, ModelInfo, Preprocessing, Sample
from resanalysis.checkpoint.keras_files import SUFFIXES as KERAS_SUFFIXES
from resanalysis.checkpoint.keras_models import from_keras, from_keras_file
from resanalysis.checkpoint.libraries import (
    from_hugging_face,
    from_python,
    from_timm,
    from_torchvision,
    state_sha256,
)
from resanalysis.checkpoint.mapped import weight_files
from resanalysis.checkpoint.own import is_own, load_own, save_checkpoint
from resanalysis.checkpoint.reading import check_file, content_of, digest
from resanalysis.checkpoint.state import Wanted, model_of_state
from resanalysis.checkpoint.tested import sample_of, ships_with
from resanalysis.datasets.bundled import bundled_file

__all__ = [
    "CheckpointError",
    "DataRecord",
    "ModelInfo",
    "Preprocessing",
    "Sample",
    "check_fit",
    "load",
    "read_checkpoint",
    "sample_of",
    "save_checkpoint",
    "state_sha256",
    "stored_bytes",
    "submodule_of",
    "taken_by",
]

_LIBRARIES = {
    "torchvision": from_torchvision,
    "timm": from_timm,
    "keras": from_keras,
    "python": from_python,
}


def load(
    spec: str | Path,
    *,
    arch: str | None = None,
    trust_pickle: bool = False,
    submodule: str | None = None,
    state: str | None = None,
    remap: bool = False,
    stream_weights: bool = False,
    download: bool = False,
) -> nn.Module:
    """Load a trained model, in eval mode, on the CPU.

    Parameters
    ----------
    spec : a file (``.pt .pth .th .ckpt .safetensors .pt2 .keras .h5``) or a name: ``bundled:NAME``,
        ``torchvision:NAME``, ``timm:NAME``, ``keras:NAME`` (``?weights=none`` for random weights),
        ``hf:DIR``, with ``download`` ``hf:OWNER/NAME[@REVISION]``, ``python:package.module:factory``.
    arch : what a state dict belongs to (``resnet56``, ``resnet110v2``, ``resnet50``, ``timm:NAME``);
        left out, it is recognised from keys and shapes.
    trust_pickle : load a pickled module, or an exported archive or a Keras file as it is, which can run
        any code it likes.
    submodule : path of a part of the model to return instead of it.
    state : which state dict of a file that holds several, such as ``ema``.
    remap : take the tensors of a state dict in their order where their names are not the model's.
    stream_weights : leave the weights of ``hf:DIR`` in their safetensors files, of which only what is used is
        read: for models larger than memory. Weights keep the type they are stored in, and are never written.
    download : fetch ``hf:OWNER/NAME[@REVISION]`` from the Hugging Face hub: weights in safetensors,
        configuration and tokenizer, and nothing that could run.

    Returns
    -------
    Module : with a ``ModelInfo`` as its attribute ``resanalysis``.

    Raises
    ------
    CheckpointError : naming the file, what was found, and what to do.
    """
    text = str(spec)
    scheme, _, name = text.partition(":")
    wanted = Wanted(arch, state, remap)
    if stream_weights and scheme != "hf":
        raise CheckpointError(
            f"--stream-weights reads the safetensors files of a Hugging Face folder, hf:DIR, and {text} is "
            "none: leave it out"
        )
    if download and scheme != "hf":
        raise CheckpointError(
            f"--download fetches hf:OWNER/NAME from the Hugging Face hub, and {text} is none: leave it out"
        )
    if scheme in ("hf", *_LIBRARIES) and name:
        _check_unsaid(text, wanted, "is a name, which says what model it is")
        model, info = (
            from_hugging_face(name, streamed=stream_weights, download=download)
            if scheme == "hf"
            else _LIBRARIES[scheme](name)
        )
    elif scheme == "bundled" and name:
        path = bundled_file(name, ".pt", "model", CheckpointError)
        model, info = _from_file(path, wanted, trust_pickle)
        info = replace(info, tested=info.tested or ships_with(name))
    else:
        model, info = _from_file(Path(text), wanted, trust_pickle)
    model.eval()
    check_finite(model, text, info.files)
    if submodule:
        model = submodule_of(model, submodule)
    object.__setattr__(model, "resanalysis", info)
    return model


def stored_bytes(spec: str, *, download: bool = False) -> int:
    """Bytes of the weights that ``--stream-weights`` can leave in their files; 0 of any other model."""
    scheme, _, name = spec.partition(":")
    if scheme != "hf" or not name:
        return 0
    return sum(path.stat().st_size for path in weight_files(found(name, download=download).folder))


def submodule_of(model: nn.Module, path: str) -> nn.Module:
    """The part of a model at a module path.

    Raises
    ------
    CheckpointError : if there is none; lists paths that are spelt alike.
    """
    parts = dict(model.named_modules())
    if path in parts:
        return parts[path]
    near = difflib.get_close_matches(path, parts, n=5, cutoff=0.4)
    there = near or [name for name in parts if name and "." not in name]
    raise CheckpointError(f"the model has no part {path!r}; there are {', '.join(there)}")


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Everything our own kind of checkpoint records, state dict included.

    Raises
    ------
    CheckpointError : if the file is none.
    """
    path = Path(path)
    check_file(path)
    content = content_of(path, trust_pickle=False)
    if not is_own(content):
        raise CheckpointError(f"{path} is no checkpoint written by resanalysis")
    return content


def _from_file(path: Path, wanted: Wanted, trust_pickle: bool) -> tuple[nn.Module, ModelInfo]:
    check_file(path)
    if path.suffix == ".pt2":
        _check_unsaid(path, wanted, "is an exported archive, which brings its own graph")
        return load_archive(path, trust_pickle), ModelInfo(str(path), sha256=digest(path))
    if path.suffix in KERAS_SUFFIXES:
        _check_unsaid(path, wanted, "is a file of Keras, which says what model it is")
        return from_keras_file(path, trust_pickle)
    found = content_of(path, trust_pickle)
    if isinstance(found, nn.Module):
        _check_unsaid(path, wanted, f"is a pickled {type(found).__name__}")
        return found, ModelInfo(str(path), type(found).__name__, sha256=digest(path))
    if is_own(found):
        _check_unsaid(path, replace(wanted, arch=None), "is a checkpoint of resanalysis")
        return load_own(path, found, digest(path), wanted.arch)
    model, architecture = model_of_state(path, found, wanted)
    info = ModelInfo(str(path), str(architecture), sha256=digest(path), built=architecture)
    return model, info


def _check_unsaid(what: object, wanted: Wanted, reason: str) -> None:
    """Refuse what is only said of state dicts."""
    if str(wanted):
        option = str(wanted).partition(" ")[0]
        raise CheckpointError(
            f"{wanted} is for state dicts, and {what} {reason}; leave {option} out"
        )
