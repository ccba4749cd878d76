"""Tensors of another author's file → the names of a model, by their order.

Two implementations of one network often hold the same tensors, in the same order, under different names.
Shapes alone would not show that two of them are exchanged: the four vectors of a batch norm are equally
long. So their last names are compared as well where both are known, and a variance cannot be negative.

Source: timm/models/_helpers.py, remap_state_dict.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from resanalysis.errors import printable, shown

_ROLES = {"weight", "bias", "running_mean", "running_var"}
_COUNTER = "num_batches_tracked"


def in_order(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path
) -> dict[str, str] | str:
    """The key of the file for each tensor of the model; or why the order does not tell, in a sentence.

    Parameters
    ----------
    state, expected : tensors of the file and of the model, in their orders. Counters of batches are left
        out on both sides.
    """
    if path.suffix == ".safetensors":
        return "a .safetensors file keeps no order of its tensors; use the file of torch.save"
    theirs = [key for key in state if not key.endswith(_COUNTER)]
    ours = [key for key in expected if not key.endswith(_COUNTER)]
    if len(theirs) != len(ours):
        return f"it has {len(theirs)} tensors, the model {len(ours)}"
    for key, name in zip(theirs, ours, strict=True):
        problem = _mismatch(key, state[key], name, expected[name])
        if problem:
            return f"{shown(key)} would be {name}, and {problem}"
    return dict(zip(ours, theirs, strict=True))


def tell_of_order(path: Path, taken: Mapping[str, str], expected: Mapping[str, Tensor]) -> None:
    """Warn that names were replaced, with the first and the last of them, and of what nothing could tell.

    Parameters
    ----------
    taken : the key of the file by the model's name.
    expected : the model's tensors.
    """
    kinds = Counter(_kind(name, expected[name]) for name in taken)
    alike = sum(count for count in kinds.values() if count > 1)
    pairs = [f"{shown(key)} → {name}" for name, key in taken.items()]
    warnings.warn(
        printable(
            f"{path.name}: its {len(taken)} tensors were taken in their order, first {pairs[0]}, last "
            f"{pairs[-1]}; {alike} of them have another of their kind and shape, and nothing in the file would "
            "show that two such are exchanged: compare the accuracy with what its author reports"
        ),
        stacklevel=2,
    )


def _kind(name: str, tensor: Tensor) -> tuple[str, tuple[int, ...]]:
    return name.rpartition(".")[2], tuple(tensor.shape)


def _mismatch(key: str, found: Tensor, name: str, wanted: Tensor) -> str:
    """Why one tensor cannot be the other; empty if it can."""
    if found.shape != wanted.shape:
        return f"its shape is {tuple(found.shape)}, not {tuple(wanted.shape)}"
    if wanted.is_floating_point() and not found.is_floating_point():
        return f"it holds {str(found.dtype)[6:]}, not floats"
    theirs, ours = key.rpartition(".")[2], name.rpartition(".")[2]
    # Only where both say what they are: other libraries call a weight `kernel` or `g`.
    if theirs != ours and {theirs, ours} <= _ROLES:
        return f"a {theirs} is no {ours}"
    # The one role that values betray. Means, scales and shifts are all of either sign.
    if ours == "running_var" and bool((found < 0).any()):
        return "a variance is not negative"
    return ""
