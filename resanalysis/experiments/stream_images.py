"""What each unit adds to the stream of each example: the numbers that ``stream`` averages."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from resanalysis.errors import ResanalysisError
from resanalysis.measures.passage import (
    Passage,
    check_finite,
    cosines,
    image_mean,
    norms,
    passages,
    transform_gate,
)
from resanalysis.network import ResidualNetwork
from resanalysis.path_gradients import freeze
from resanalysis.routes.batches import (
    Batch,
    Batches,
    Block,
    BlockStore,
    EvaluationData,
    joined,
    recorded_footprint,
)
from resanalysis.routes.loss import loss_gradient, rescaled
from resanalysis.routes.scores import NAMES, scores

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
    batches = Batches.of(
        ready,
        data,
        recorded_footprint(9 * (len(ready) + 1)),
        batch_size=batch_size,
        store=store,
        show_progress=show_progress,
    )
    found = joined(batches.each("stream", lambda batch: _block(ready, batch)))
    return {name: found[name].astype(np.float64) for name in MEASURED}


def _block(network: ResidualNetwork, batch: Batch) -> Block:
    """Every measure (units, images) on some examples."""
    passed, logits = passed_units(network, batch)
    gradients: tuple[Tensor | None, ...] = (None,) * len(passed)
    if batch.labels is not None and logits is not None:
        gradients = loss_directions(logits, batch.labels, passed)
    with torch.no_grad():
        rows = [
            _of_unit(passage, gradient, batch.kept_tokens)
            for passage, gradient in zip(passed, gradients, strict=True)
        ]
        if logits is not None:
            for unit in range(first_exit(network), len(network)):
                rows[unit] |= early_exit(network, passed[unit], batch, logits)
        nothing = torch.full((batch.rows,), torch.nan)
        for passage, row in zip(passed, rows, strict=True):
            check_finite("branch of", passage.unit, row["branch_norm"], batch)
        return {
            name: np.stack([batch.own(row.get(name, nothing)).cpu().numpy() for row in rows])
            for name in MEASURED
        }


def passed_units(network: ResidualNetwork, batch: Batch) -> tuple[list[Passage], Tensor | None]:
    """What passed each unit, to be differentiated where there are labels; the logits, if there are any."""
    with torch.no_grad():
        h, side = network.enter(batch.inputs)
    passed: list[Passage] = []
    with torch.set_grad_enabled(batch.labels is not None):
        if batch.labels is not None:
            # Recorded from the first unit on: nothing before it is asked for.
            h = h.detach().requires_grad_()
        logits = network.leave(*passages(network, h, side, passed.append))
    scored = isinstance(logits, Tensor) and logits.ndim < 4
    return passed, logits if scored else None


def early_exit(
    network: ResidualNetwork, passage: Passage, batch: Batch, logits: Tensor
) -> dict[str, Tensor]:
    """Scores (N,) of the head on the stream that leaves a unit."""
    read = scores(network.leave(passage.left, passage.side), batch.labels, logits)
    return {f"exit_{name}": read[NAMES.index(name)] for name in NAMES[:3]}


def loss_directions(
    logits: Tensor, labels: Tensor, passed: list[Passage]
) -> tuple[Tensor | None, ...]:
    """Gradient of each example's loss at each unit's input, up to a positive factor of the example."""
    left = passed[-1].left
    at_logits, _, _ = loss_gradient(logits, labels)
    (last,) = torch.autograd.grad(logits, left, at_logits, retain_graph=True)
    if not bool(torch.isfinite(last).all()):
        raise ResanalysisError("the gradient of the loss at the last unit is not finite")
    # Cosines have no scale, and gradients of confident predictions would underflow on the way back.
    last, _ = rescaled(last)
    entered = [passage.entered for passage in passed]
    return torch.autograd.grad(left, entered, last, allow_unused=True)


def first_exit(network: ResidualNetwork) -> int:
    """First unit of the last stage: from there on the stream has the shape that the head reads."""
    last = len(network) - 1
    first = next((run[0] for run in network.runs() if run[-1] == last), last)
    # The transition into the stage leaves it the shape.
    if first and first != last and network.joined(first):
        return first - 1
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
    # Where the shape changes the skip is what there is of the stream before in the new one.
    before = entered if entered.shape == passage.left.shape else skip
    if before is not None:
        row["influence"] = image_mean(1 - cosines(before, passage.left), kept)
    if gradient is not None and branch.shape == entered.shape:
        row["gradient_cosine"] = image_mean(cosines(branch, -gradient), kept)
    if passage.unit.skip_kind == "gate":
        row["gate"] = transform_gate(passage)
    return row
