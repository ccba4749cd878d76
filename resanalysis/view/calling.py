"""An example as the arguments of a call, with as many rows as are wanted."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor

from resanalysis.network import Inputs
from resanalysis.view.errors import UnravelError


def as_arguments(example: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of a call with ``example``."""
    if isinstance(example, Tensor):
        return (example,), {}
    if isinstance(example, Mapping):
        return (), dict(example)
    return tuple(example), {}


def of_size(example: Inputs, size: int) -> Inputs:
    """The example with ``size`` rows, the first ones over again where it has fewer."""

    def rows(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.ndim == 0:
            return value
        return torch.cat([value] * size)[:size] if len(value) < size else value[:size]

    return pytree.tree_map(rows, example)


def described(example: Inputs) -> str:
    """Type and shape of every tensor: ``float32 (8, 3, 32, 32)``."""
    leaves = [leaf for leaf in pytree.tree_leaves(example) if isinstance(leaf, Tensor)]
    return ", ".join(f"{str(leaf.dtype)[6:]} {tuple(leaf.shape)}" for leaf in leaves) or "no tensor"


def require_rows(example: Inputs) -> None:
    """Refuse an example without rows: nothing can be run on it."""
    leaves = [leaf for leaf in pytree.tree_leaves(example) if isinstance(leaf, Tensor)]
    if any(leaf.ndim and not len(leaf) for leaf in leaves):
        raise UnravelError(
            f"the example holds 0 examples ({described(example)}): call with a batch of at least one"
        )


def random_like(example: Inputs) -> Inputs:
    """Normal numbers of the same mean and spread instead of every float; whole numbers stay.

    What is far from all that a model was made for it may amplify until the last digit decides.
    """
    generator = torch.Generator().manual_seed(0)

    def fresh(value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator)
            mean, spread = float(value.double().mean()), float(value.double().std(correction=0))
            if not isfinite(spread) or not spread:
                mean, spread = 0.0, 1.0  # masks of -inf, and an example of one number
            return (mean + spread * noise).to(value.device, value.dtype)
        return value

    return pytree.tree_map(fresh, example)
