"""A file or a name → a trained model in eval mode, without running anything the file brings."""

from __future__ import annotations

import difflib
import hashlib
import pickle
import warnings
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resanalysis.checkpoint.archive import load_archive
from resanalysis.checkpoint.errors import CheckpointError, first_line
from resanalysis.checkpoint.fit import check_fit
from resanalysis.checkpoint.info import ModelInfo, Preprocessing
from resanalysis.checkpoint.libraries import (
    from_hugging_face,
    from_python,
    from_timm,
    from_torchvision,
    state_sha256,
)
from resanalysis.checkpoint.own import is_own, load_own, save_checkpoint
from resanalysis.checkpoint.state import check_finite, model_of_state

__all__ = [
    "CheckpointError",
    "ModelInfo",
    "Preprocessing",
    "check_fit",
    "load",
    "read_checkpoint",
    "save_checkpoint",
    "state_sha256",
    "submodule_of",
]

_SUFFIXES = (".pt", ".pth", ".th", ".ckpt", ".bin", ".tar")
_LIBRARIES = {
    "torchvision": from_torchvision,
    "timm": from_timm,
    "hf": from_hugging_face,
    "python": from_python,
}


def load(
    spec: str | Path,
    *,
    arch: str | None = None,
    trust_pickle: bool = False,
    submodule: str | None = None,
) -> nn.Module:
    """Load a trained model, in eval mode, on the CPU.

    Parameters
    ----------
    spec : a file (``.pt .pth .th .ckpt .safetensors .pt2``) or a name: ``bundled:NAME``,
        ``torchvision:NAME``, ``timm:NAME`` (``?weights=none`` after either for random weights),
        ``hf:DIR``, ``python:package.module:factory``.
    arch : what a state dict belongs to (``resnet56``, ``resnet110v2``, ``resnet50``, ``timm:NAME``);
        left out, it is recognised from keys and shapes.
    trust_pickle : load a pickled module, or an exported archive as it is, which can run any code it
        likes.
    submodule : path of a part of the model to return instead of it.

    Returns
    -------
    Module : with a ``ModelInfo`` as its attribute ``resanalysis``.

    Raises
    ------
    CheckpointError : naming the file, what was found, and what to do.
    """
    text = str(spec)
    scheme, _, name = text.partition(":")
    if scheme in _LIBRARIES and name:
        if arch is not None:
            raise _arch_is_not_for(text, arch, "is a name, which says what model it is")
        model, info = _LIBRARIES[scheme](name)
    elif scheme == "bundled" and name:
        model, info = _from_file(_bundled(name), arch, trust_pickle)
    else:
        model, info = _from_file(Path(text), arch, trust_pickle)
    model.eval()
    check_finite(model, text)
    if submodule:
        model = submodule_of(model, submodule)
    object.__setattr__(model, "resanalysis", info)
    return model


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
    _bytes(path)
    content = _read(path, trust_pickle=False)
    if not is_own(content):
        raise CheckpointError(f"{path} is no checkpoint written by resanalysis")
    return content


def _from_file(path: Path, arch: str | None, trust_pickle: bool) -> tuple[nn.Module, ModelInfo]:
    content = _bytes(path)
    digest = hashlib.sha256(content).hexdigest()
    if path.suffix == ".pt2":
        if arch is not None:
            raise _arch_is_not_for(path, arch, "is an exported archive, which brings its own graph")
        return load_archive(path, content, trust_pickle), ModelInfo(str(path), sha256=digest)
    del content
    found = _read(path, trust_pickle)
    if isinstance(found, nn.Module):
        if arch is not None:
            raise _arch_is_not_for(path, arch, f"is a pickled {type(found).__name__}")
        return found, ModelInfo(str(path), type(found).__name__, sha256=digest)
    if is_own(found):
        return load_own(path, found, digest, arch)
    model, architecture = model_of_state(path, found, arch)
    return model, ModelInfo(str(path), str(architecture), sha256=digest)


def _arch_is_not_for(what: object, arch: str, reason: str) -> CheckpointError:
    return CheckpointError(
        f"--arch {arch} is for state dicts, and {what} {reason}; leave --arch out"
    )


def _bytes(path: Path) -> bytes:
    """The content of a file that is there, is one, and may be read."""
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; a Hugging Face folder is named hf:{path}")
    if not path.exists():
        raise CheckpointError(
            f"there is no file {path}; a model is a file, or bundled:NAME, torchvision:NAME, "
            "timm:NAME, hf:DIR, python:MODULE:FACTORY"
        )
    if not path.is_file():
        raise CheckpointError(f"{path} is no regular file but a device, socket or pipe")
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {(error.strerror or str(error)).lower()}; check its permissions"
        ) from None


def _read(path: Path, trust_pickle: bool) -> Any:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged: {first_line(error)}") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=not trust_pickle)
    except Exception as error:
        raise CheckpointError(_unreadable(path, error, trust_pickle)) from None


def _unreadable(path: Path, error: Exception, trust_pickle: bool) -> str:
    reason = first_line(error)
    if "TorchScript" in str(error) and not trust_pickle:
        return (
            f"{path} is a TorchScript archive, which is a program; nothing of it was run. Save the "
            "model's state dict instead, or, if you trust whoever made it, add --trust-pickle"
        )
    if "weights_only" in str(error) and not trust_pickle and _is_pickle(path):
        blocked = [
            line for line in str(error).splitlines() if "GLOBAL" in line or "nsupported" in line
        ]
        named = blocked[0].split("WeightsUnpickler error: ")[-1].strip() if blocked else reason
        return (
            f"{path} holds more than weights ({named.split('.')[0] if len(named) > 120 else named}); "
            "nothing of it was run. Save its state dict instead, or, if you trust whoever made it, add "
            "--trust-pickle"
        )
    if isinstance(error, pickle.UnpicklingError) or "Weights only load failed" in reason:
        reason = "not a file torch.save wrote"
    size = path.stat().st_size
    kind = (
        "" if path.suffix in _SUFFIXES else f" and {path.suffix or 'no suffix'} is no checkpoint's"
    )
    return (
        f"{path} is no readable checkpoint ({size:,} bytes{kind}): it is truncated, damaged or of "
        f"another kind ({reason})"
    )


def _is_pickle(path: Path) -> bool:
    """Whether the file is a whole pickle or zip archive, found without running it."""
    import pickletools
    import zipfile

    if zipfile.is_zipfile(path):
        return True
    try:
        with path.open("rb") as file:
            for _ in pickletools.genops(file):
                pass
    except Exception:
        return False
    return True


def _bundled(name: str) -> Path:
    folder = files("resanalysis") / "bundled"
    path = Path(str(folder / f"{name}.pt"))
    if not path.is_file():
        there = sorted(entry.name[:-3] for entry in folder.iterdir() if entry.name.endswith(".pt"))
        raise CheckpointError(f"no model bundled:{name} ships; there are {', '.join(there)}")
    return path
