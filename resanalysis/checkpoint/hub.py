"""``hf:NAME`` → a folder on this machine, fetched from the Hugging Face hub where that is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from resanalysis.checkpoint.errors import CheckpointError, first_line
from resanalysis.checkpoint.filling import missing
from resanalysis.checkpoint.mapped import weight_files
from resanalysis.errors import shown

# Weights, numbers and words: no pickle (.bin), no code (.py), and nothing of a folder inside.
_FETCHED = (
    "model.safetensors",
    "model-*.safetensors",
    "model.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
)


_OFFLINE = (
    "is not in the cache, and HF_HUB_OFFLINE forbids to fetch it; unset that, or name a folder"
)
_NO_SAFETENSORS = (
    "has no weights in model.safetensors, and files of other kinds can hold code: load it with transformers "
    "where you trust it, and write a folder with save_pretrained"
)


@dataclass(frozen=True)
class Found:
    """Where a model of the hub is.

    Attributes
    ----------
    folder : on this machine.
    revision : the commit it is of; ``None`` of a folder that was not fetched.
    """

    folder: Path
    revision: str | None = None


def found(name: str, *, download: bool) -> Found:
    """The folder of ``hf:NAME``: as it is, or fetched where there is none and ``download`` says so.

    Raises
    ------
    CheckpointError : if there is none, or it cannot be fetched.
    """
    path = Path(name)
    if path.is_dir() and download:
        raise CheckpointError(f"hf:{name} is a folder here: leave out --download, or rename it")
    if path.is_dir():
        return Found(path)
    if download:
        return fetched(name)
    raise CheckpointError(
        f"hf:{name}: there is no folder {name} here; name one that save_pretrained wrote, or add --download "
        "to fetch hf:OWNER/NAME or hf:OWNER/NAME@REVISION from the Hugging Face hub"
    )


@cache
def fetched(name: str) -> Found:
    """A model of the hub in the library's own cache, of one commit as long as this process runs.

    Raises
    ------
    CheckpointError : if the hub or the model cannot be reached, or it has no safetensors.
    """
    try:
        import huggingface_hub
        from huggingface_hub.constants import HF_HUB_OFFLINE
    except ImportError as error:
        raise missing("transformers", error) from None
    repository, _, revision = name.partition("@")
    try:
        folder = huggingface_hub.snapshot_download(
            repository,
            revision=revision or None,
            allow_patterns=list(_FETCHED),
            ignore_patterns=["*/*"],
        )
    except (OSError, ValueError) as error:  # what the hub and the network raise are OSErrors
        raise CheckpointError(f"hf:{name} {_why_not(error, repository, revision)}") from None
    path = Path(folder)
    if not weight_files(path):  # the cache can hold a part of what is asked for
        raise CheckpointError(f"hf:{name} {_OFFLINE if HF_HUB_OFFLINE else _NO_SAFETENSORS}")
    # The cache keeps each commit in a folder of its name.
    return Found(path, path.name)


def _why_not(error: Exception, repository: str, revision: str) -> str:
    from huggingface_hub import constants, utils

    if isinstance(error, utils.HFValidationError):
        return "is no name of the hub; write hf:OWNER/NAME or hf:OWNER/NAME@REVISION"
    if isinstance(error, utils.GatedRepoError):
        return (
            f"is gated: accept its conditions on https://huggingface.co/{repository}, then log in "
            "(hf auth login)"
        )
    if isinstance(error, utils.RevisionNotFoundError):
        return f"has no revision {shown(revision)}; leave @{shown(revision)} out for the newest"
    if isinstance(error, utils.RepositoryNotFoundError):
        return "is not on the hub, or is private: check its name, or log in (hf auth login)"
    if constants.HF_HUB_OFFLINE:
        return _OFFLINE
    if isinstance(error, utils.LocalEntryNotFoundError):
        return "cannot be fetched: the hub is not reached from here; name a folder that was copied"
    return f"cannot be fetched: {type(error).__name__}: {first_line(error)}"
