"""A file → what it holds, looked at before memory is taken for it, and nothing of it run."""

from __future__ import annotations

import hashlib
import pickle
import pickletools
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from resanalysis.checkpoint.errors import CheckpointError, first_line
from resanalysis.checkpoint.records import check_records
from resanalysis.errors import out_of_memory, reason

_SUFFIXES = (".pt", ".pth", ".th", ".ckpt", ".bin", ".tar")


def check_file(path: Path) -> None:
    """Check that a file is there, is one, and may be read.

    Raises
    ------
    CheckpointError : saying what is there instead.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; a Hugging Face folder is named hf:{path}")
    if not path.exists():
        raise CheckpointError(
            f"there is no file {path}; a model is a file, or bundled:NAME, torchvision:NAME, "
            "timm:NAME, keras:NAME, hf:DIR, python:MODULE:FACTORY"
        )
    if not path.is_file():
        raise CheckpointError(f"{path} is no regular file but a device, socket or pipe")
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {reason(error)}; check its permissions"
        ) from None


def digest(path: Path) -> str:
    """SHA-256 of a file, read piece by piece: a model that just fits into memory still loads."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_of(path: Path, trust_pickle: bool) -> Any:
    """What a file of ``torch.save`` or safetensors holds.

    Raises
    ------
    CheckpointError : if it is damaged, of another kind, too large for the memory, or holds more than
        weights and is not trusted.
    """
    if path.suffix == ".safetensors":
        return _safetensors(path)
    if zipfile.is_zipfile(path):
        check_records(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=not trust_pickle)
    except Exception as error:
        if out_of_memory(error):
            raise too_large(path) from None
        raise CheckpointError(_unreadable(path, error, trust_pickle)) from None


def too_large(path: Path) -> CheckpointError:
    """What to say where the memory does not hold a model."""
    return CheckpointError(
        f"{path} ({path.stat().st_size:,} bytes) needs more memory than there is; close other programs, "
        "or run it where there is more"
    )


def _safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {first_line(error)}") from None
    except MemoryError:
        raise too_large(path) from None


def _unreadable(path: Path, error: Exception, trust_pickle: bool) -> str:
    """Why torch could not read a file: a program, a pickle of more than weights, or damage."""
    if "TorchScript" in str(error) and not trust_pickle:
        return (
            f"{path} is a TorchScript archive, which is a program; nothing of it was run. Save the "
            "model's state dict instead, or, if you trust whoever made it, add --trust-pickle"
        )
    if "weights_only" in str(error) and not trust_pickle and _is_pickle(path):
        return (
            f"{path} holds more than weights ({_blocked(error)}); nothing of it was run. Save its state "
            "dict instead, or, if you trust whoever made it, add --trust-pickle"
        )
    reason = first_line(error)
    if _lacks_its_end(path):
        reason = "it begins as torch.save writes, and its end is missing"
    elif isinstance(error, KeyError | pickle.UnpicklingError) or "Weights only" in reason:
        reason = "not a file torch.save wrote"
    size = path.stat().st_size
    kind = (
        "" if path.suffix in _SUFFIXES else f" and {path.suffix or 'no suffix'} is no checkpoint's"
    )
    return (
        f"{path} is no readable checkpoint ({size:,} bytes{kind}): it is truncated, damaged or of "
        f"another kind ({reason}); copy or download it again, or save it with torch.save"
    )


def _lacks_its_end(path: Path) -> bool:
    """Whether a zip archive was cut: its directory is its end; torch speaks of other things."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04" and not zipfile.is_zipfile(path)


def _blocked(error: Exception) -> str:
    """What torch did not want to run, out of a page of advice."""
    lines = [line for line in str(error).splitlines() if "GLOBAL" in line or "nsupported" in line]
    if not lines:
        return first_line(error)
    named = lines[0].split("WeightsUnpickler error: ")[-1].strip()
    return named.split(".")[0] if len(named) > 120 else named


def _is_pickle(path: Path) -> bool:
    """Whether the file is a whole pickle or zip archive, found without running it."""
    if zipfile.is_zipfile(path):
        return True
    try:
        with path.open("rb") as file:
            # Reads the instructions of a pickle and carries none out.
            for _ in pickletools.genops(file):
                pass
    except Exception:
        return False
    return True
