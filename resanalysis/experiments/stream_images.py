"""What each unit adds to the stream of each example: the numbers that ``stream`` averages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.utils._pytree as pytree
from numpy.typing import NDArray
from torch import Tensor

from resanalysis.errors import ResanalysisError
from resanalysis.measures.passage import (
    Passage,
    cosines,
    image_mean,
    norms,
    passages,
    transform_gate,
)
from resanalysis.network import Inputs, ResidualNetwork
from resanalysis.path_gradients import freeze
from resanalysis.path_gradients.over_images import chosen_size
from resanalysis.path_gradients.tape import example_losses
from resanalysis.routes.evaluator import BlockStore, EvaluationData
from resanalysis.routes.scores import NAMES, scores
from resanalysis.routes.stored_blocks import stored_blocks

Floats = NDArray[np.float64]

MEASURED = (
    "branch_norm", "skip_norm", "ratio", "cosine", "influence", "gradient_cosine", "exit_error",
    "exit_loss", "exit_agreement", "gate",
)  # fmt: skip


def stream_images(
    network: ResidualNetwork,
    data: EvaluationData,
    *,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    store: BlockStore | None = None,
    show_progress: bool = False,
) -> pd.DataFrame:
    """The measures of ``stream`` before they are averaged: distributions, and not their means alone.

    Returns
    -------
    DataFrame : a row per example and unit with ``image`` (position in the data), ``unit``, ``name`` and the
        measures of ``stream``; those that nothing has are left out.

    Raises
    ------
    ResanalysisError : as ``stream`` does.
    """
    found = measured_images(
        network,
        data,
        batch_size=batch_size,
        device=device,
        store=store,
        show_progress=show_progress,
    )
    units, images = len(network), len(data)
    frame = pd.DataFrame(
        {
            "image": np.repeat(np.arange(images), units),
            "unit": np.tile(np.arange(units), images),
            "name": np.tile([unit.name for unit in network.units], images),
        }
    )
    for name, values in found.items():
        if np.isfinite(values).any():
            frame[name] = values.T.ravel()
    return frame


def measured_images(
    network: ResidualNetwork,
    data: EvaluationData,
    *,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    store: BlockStore | None = None,
    show_progress: bool = False,
) -> dict[str, Floats]:
    """Every measure (units, N) by its name; NaN where it is not defined."""
    if len(data) == 0:
        raise ResanalysisError(f"nothing to measure {network.name} on: the data has no examples")
    ready = freeze(network, device)
    size = chosen_size(ready, 9 * (len(ready) + 1), len(data), batch_size)
    blocks = stored_blocks(
        "stream",
        len(data),
        size,
        lambda start, stop: _block(ready, data, start, stop),
        store=store,
        show_progress=show_progress,
    )
    return {
        name: np.concatenate([block[name] for block in blocks], axis=1).astype(np.float64)
        for name in MEASURED
    }


def batch_of(
    network: ResidualNetwork, data: EvaluationData, start: int, stop: int
) -> tuple[Inputs, Tensor | None, Tensor | None]:
    """Inputs, labels and the mask (N, T) of tokens to keep, on the network's device.

    A network that takes one batch size only gets it, the last example repeated.
    """
    inputs, labels = data.batch(start, stop)
    missing = network.batch_size - (stop - start) if network.batch_size else 0

    def placed(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if missing > 0 and value.ndim:
            value = torch.cat([value, value[-1:].expand(missing, *value.shape[1:])])
        return value.to(network.device)

    inputs = pytree.tree_map(placed, inputs)
    mask = inputs.get("attention_mask") if isinstance(inputs, Mapping) else None
    return inputs, placed(labels), mask.bool() if isinstance(mask, Tensor) else None


def _block(
    network: ResidualNetwork, data: EvaluationData, start: int, stop: int
) -> dict[str, NDArray[Any]]:
    """Every measure (units, images) on some examples."""
    inputs, labels, kept = batch_of(network, data, start, stop)
    with torch.no_grad():
        h, side = network.enter(inputs)
    with torch.set_grad_enabled(labels is not None):
        if labels is not None:
            h = h.detach().requires_grad_()
        passed = list(passages(network, h, side))
        taken = tuple(passed[position - 1].left if position else h for position in network.taps)
        side = (*side, *taken)
        logits = network.leave(passed[-1].left, side)
    scored = isinstance(logits, Tensor) and logits.ndim < 4
    gradients: tuple[Tensor | None, ...] = (None,) * len(passed)
    if labels is not None and scored:
        gradients = _directions(logits, labels, passed)
    with torch.no_grad():
        first_exit = _first_exit(network)
        rows: list[dict[str, Tensor]] = []
        for passage, gradient in zip(passed, gradients, strict=True):
            row = _of_unit(passage, gradient, kept)
            if scored and passage.unit.index >= first_exit:
                read = scores(network.leave(passage.left, side), labels, logits)
                row |= {f"exit_{name}": read[NAMES.index(name)] for name in NAMES[:3]}
            rows.append(row)
        nothing = torch.full((len(h),), torch.nan)
        block = {
            name: np.stack([row.get(name, nothing)[: stop - start].cpu().numpy() for row in rows])
            for name in MEASURED
        }
    broken = np.flatnonzero(~np.isfinite(block["branch_norm"]).all(axis=1))
    if len(broken):
        unit = network.units[int(broken[0])]
        raise ResanalysisError(
            f"the branch of unit {unit.index} ({unit.name}) is not finite on images {start} to "
            f"{stop - 1}: check the weights, and how the input is normalised"
        )
    return block


def _directions(logits: Tensor, labels: Tensor, passed: list[Passage]) -> tuple[Tensor | None, ...]:
    """Gradient of each example's loss at each unit's input, up to a positive factor of the example."""
    left = passed[-1].left
    losses = example_losses(logits, labels)
    (last,) = torch.autograd.grad(losses.sum(), left, retain_graph=True)
    if not bool(torch.isfinite(last).all()):
        raise ResanalysisError("the gradient of the loss at the last unit is not finite")
    # Gradients of confident predictions would underflow on the way back; cosines have no scale.
    size = last.flatten(1).abs().amax(1).view(-1, *(1,) * (last.ndim - 1))
    last = last / torch.where(size > 0, size, 1)
    entered = [passage.entered for passage in passed]
    return torch.autograd.grad(left, entered, last, allow_unused=True)


def _first_exit(network: ResidualNetwork) -> int:
    """First unit of the last stage: from there on the stream has the shape that the head reads."""
    first = len(network) - 1
    while (
        first > 0
        and network.joined(first)
        and network.units[first - 1].out_shape == network.units[-1].out_shape
    ):
        first -= 1
    return first


def _of_unit(passage: Passage, gradient: Tensor | None, kept: Tensor | None) -> dict[str, Tensor]:
    """The measures (N,) of one unit; what is not defined for it is left out."""
    branch, skip, entered = passage.branch, passage.skip, passage.entered
    branch_norm = norms(branch)
    row = {"branch_norm": image_mean(branch_norm, kept)}
    if skip is not None:
        skip_norm = norms(skip)
        row["skip_norm"] = image_mean(skip_norm, kept)
        ratio = branch_norm / torch.where(skip_norm > 0, skip_norm, torch.nan)
        row["ratio"] = image_mean(ratio, kept)
        row["cosine"] = image_mean(cosines(branch, skip), kept)
    before = entered if entered.shape == passage.left.shape else skip
    if before is not None:
        row["influence"] = image_mean(1 - cosines(before, passage.left), kept)
    if gradient is not None and branch.shape == entered.shape:
        row["gradient_cosine"] = image_mean(cosines(branch, -gradient), kept)
    if passage.unit.skip_kind == "gate":
        row["gate"] = transform_gate(passage)
    return row
