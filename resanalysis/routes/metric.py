"""A user's own score, called so that it can harm nothing: on copies, its answer checked, its errors named."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor

from resanalysis.errors import ResanalysisError, out_of_memory, raised, shown

Metric = Callable[[Any, Tensor | None, Any], Tensor]
"""A user's own score: of a model's output, the labels, and the intact model's output, (N,) numbers."""


def metric_name(metric: Metric) -> str:
    """What a table calls a user's score."""
    return str(getattr(metric, "__name__", type(metric).__name__))


def measured_by(
    metric: Metric, output: Any, labels: Tensor | None, intact: Any, examples: int
) -> Tensor:
    """What a metric says of a batch, (examples,) of float32 on the CPU.

    It gets copies: one that works in place would change the intact output that every other route is compared
    with.

    Raises
    ------
    ResanalysisError : if it raises anything, also ``SystemExit``; if it returns no number for each example,
        or NaN or infinity of an output that is finite.
    """
    name = f"the metric {metric_name(metric)}"
    precision = torch.get_default_dtype()
    try:
        answer: Any = metric(copied(output), copied(labels), copied(intact))
    except (Exception, SystemExit, GeneratorExit) as error:
        # Memory that ran out is no mistake of the metric: the batch is halved and tried again.
        if isinstance(error, ResanalysisError) or out_of_memory(error):
            raise
        file = getattr(inspect.getmodule(metric), "__file__", None)
        raise ResanalysisError(f"{name} raised {raised(error, file)}") from error
    finally:
        torch.set_default_dtype(precision)  # one that computes in float64 may set it for all
    wanted = f"for {examples} examples; it must return one number for each"
    try:
        values = torch.as_tensor(answer)
    except (TypeError, ValueError, RuntimeError):
        raise ResanalysisError(f"{name} returned {shown(answer)} {wanted}") from None
    if values.shape != (examples,) or values.is_complex():
        kind = "complex numbers of shape" if values.is_complex() else "shape"
        raise ResanalysisError(f"{name} returned {kind} {tuple(values.shape)} {wanted}")
    values = values.detach().to_dense().float().cpu()
    wrong = (~values.isfinite()).nonzero().flatten().tolist()
    if wrong and _finite(output):
        raise ResanalysisError(
            f"{name} returned {values[wrong[0]]} for {len(wrong)} of {examples} examples of a batch, first "
            f"number {wrong[0]}, though the output is finite; it must return a finite number for each"
        )
    return values


def _finite(output: Any) -> bool:
    tensors = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]
    return all(bool(leaf.isfinite().all()) for leaf in tensors if leaf.is_floating_point())


def copied(value: Any) -> Any:
    """A copy of what a model returned, with tensors of its own."""
    return pytree.tree_map(
        lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else copy.deepcopy(leaf), value
    )
