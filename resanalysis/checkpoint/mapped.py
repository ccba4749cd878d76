"""Weights left in their files: safetensors mapped into memory, of which only what is used is read."""

from __future__ import annotations

import json
import math
import mmap
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resanalysis.checkpoint.errors import CheckpointError
from resanalysis.errors import shown

_TYPES = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
    "F64": torch.float64,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
# The format's own limit of the header.
_LONGEST = 100_000_000


@dataclass(frozen=True, eq=False)
class MappedFiles:
    """The tensors of safetensors files, as views of the files.

    Attributes
    ----------
    tensors : by name. They must not be written to: the files are mapped for reading alone.
    """

    # Shown, they would be read.
    tensors: Mapping[str, Tensor] = field(repr=False)
    _maps: tuple[mmap.mmap, ...] = field(repr=False)

    def release(self) -> None:
        """Let go of the memory of all that was read; what is used again is read again."""
        if sys.platform != "win32":  # which cannot be told so, and lets go where memory is short
            for file in self._maps:
                # The pages are the file's own and were never written to, so that nothing is lost.
                file.madvise(mmap.MADV_DONTNEED)

    def release_after(self, modules: Iterable[nn.Module]) -> None:
        """Let each module that has weights of its own let go of them once it has run."""
        for module in modules:
            if next(module.parameters(), None) is not None:
                module.register_forward_hook(lambda *_: self.release())

    def check_hold(self, model: nn.Module, name: str) -> None:
        """See that all of a model's weights are in the files.

        Raises
        ------
        CheckpointError : naming the first that is not: it was put together, or cast, as it was loaded.
        """
        # By address: a weight of the right values elsewhere is a copy in memory.
        mapped = {tensor.data_ptr() for tensor in self.tensors.values()}
        for key, weight in model.named_parameters():
            if weight.data_ptr() not in mapped:
                raise CheckpointError(
                    f"{name}: {key} ({str(weight.dtype)[6:]}) is not in the files as the model takes it, and "
                    "--stream-weights reads weights as they are stored: load it without, and save it again "
                    "with save_pretrained"
                )


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder that ``save_pretrained`` wrote; none, if it has no such."""
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if not index.is_file():
        return [single] if single.is_file() else []
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError):
        raise CheckpointError(f"{index} is no index of safetensors files") from None
    paths = [folder / Path(str(name)).name for name in names]  # none outside the folder
    for path in paths:
        if not path.is_file():
            raise CheckpointError(f"{index} names {shown(path.name)}, which is not there")
    return paths


def mapped_files(folder: Path) -> MappedFiles:
    """All tensors of a folder's safetensors files, none of them read yet.

    Raises
    ------
    CheckpointError : if there are none, or one is damaged.
    """
    paths = weight_files(folder)
    if not paths:
        raise CheckpointError(
            f"--stream-weights reads .safetensors files, and {folder} has none: load the model once and save "
            "it with save_pretrained"
        )
    tensors: dict[str, Tensor] = {}
    maps: list[mmap.mmap] = []
    for path in paths:
        if not path.stat().st_size:
            raise _cut_short(path)
        with path.open("rb") as file:
            # For reading alone: a private copy would count as memory promised, and a file larger than the
            # machine's memory be refused.
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        tensors |= _tensors(mapped, path)
        maps.append(mapped)
    return MappedFiles(tensors, tuple(maps))


def _cut_short(path: Path) -> CheckpointError:
    return CheckpointError(f"{path} is no safetensors file, or is cut short")


def _tensors(mapped: mmap.mmap, path: Path) -> dict[str, Tensor]:
    """The tensors of one file, by the places its header gives.

    Source: the format's own description, https://github.com/huggingface/safetensors.
    """
    length = int.from_bytes(mapped[:8], "little")
    if not 0 < length <= min(_LONGEST, len(mapped) - 8):
        raise _cut_short(path)
    try:
        header: dict[str, Any] = json.loads(mapped[8 : 8 + length])
        header.pop("__metadata__", None)
        return {name: _tensor(mapped, 8 + length, entry) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is damaged: its header does not fit it ({type(error).__name__}: {shown(str(error))})"
        ) from None


def _tensor(mapped: mmap.mmap, start: int, entry: Mapping[str, Any]) -> Tensor:
    kind, shape = _TYPES[entry["dtype"]], [int(length) for length in entry["shape"]]
    first, last = (int(end) for end in entry["data_offsets"])
    count = math.prod(shape)
    if min(first, count, *shape, 0) < 0 or last - first != count * kind.itemsize:
        raise ValueError(f"{count} numbers in {last - first} bytes")
    if last > len(mapped) - start:
        raise ValueError(f"a tensor ends at byte {last} of {len(mapped) - start}")
    if count == 0:
        return torch.empty(shape, dtype=kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the memory cannot be written to
        flat = torch.frombuffer(mapped, dtype=kind, count=count, offset=start + first)
    return flat.view(shape)
