"""Which of the things a model returns are its logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.utils._pytree as pytree
from torch import Tensor


def logits_of(output: Any) -> Tensor | None:
    """The logits in what a model returns: itself, its ``logits`` or ``out``, or its only float tensor."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        for name in ("logits", "out"):
            if isinstance(output.get(name), Tensor):
                return output[name]
    leaves = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]
    floats = [leaf for leaf in leaves if leaf.is_floating_point()]
    return floats[0] if len(leaves) == len(floats) == 1 and floats[0].ndim > 1 else None
