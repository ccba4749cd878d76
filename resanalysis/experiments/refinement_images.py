"""The stream of each example after every unit as an estimate: the numbers that ``refinement`` averages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from resanalysis.datasets import Dataset
from resanalysis.errors import ResanalysisError
from resanalysis.experiments.stream_images import (
    early_exit,
    first_exit,
    loss_directions,
    passed_units,
)
from resanalysis.measures.passage import Passage, check_finite, cosines, image_mean, vectors
from resanalysis.network import ResidualNetwork
from resanalysis.path_gradients import freeze
from resanalysis.routes.batches import (
    Batch,
    Batches,
    Block,
    BlockStore,
    joined,
    recorded_footprint,
)
from resanalysis.routes.linear_map import channel_axis

Values = Mapping[str, NDArray[Any]]
"""By name: ``error``, ``square``, ``descent``, ``descent_share``, ``exit_error``, ``exit_agreement``
(units, N), ``label`` (1, N) where there are classes, and where the output is (N, classes) ``logits`` (classes,
N) and ``features0``, ``features1``, … (channels, N)."""


def refinement_images(
    network: ResidualNetwork,
    data: Dataset,
    *,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    store: BlockStore | None = None,
    show_progress: bool = False,
) -> Values:
    """Everything that ``refinement`` needs to know of each example, from one pass forward and one back.

    Raises
    ------
    ResanalysisError : if there are no examples or the stream is not finite.
    """
    if len(data) == 0:
        raise ResanalysisError(f"nothing to measure {network.name} on: the data has no examples")
    ready = freeze(network, device)
    batches = Batches.of(
        ready, data, recorded_footprint(9 * (len(ready) + 1)),
        batch_size=batch_size, store=store, show_progress=show_progress,
    )  # fmt: skip
    return joined(batches.each("refinement", lambda batch: _block(ready, batch)))


def _block(network: ResidualNetwork, batch: Batch) -> Block:
    passed, logits = passed_units(network, batch)
    for passage in passed:
        check_finite("stream after", passage.unit, passage.left, batch)
    found = _errors(passed, batch) | _exits(network, passed, batch, logits)
    gradients: tuple[Tensor | None, ...] = (None,) * len(passed)
    if batch.labels is not None and logits is not None:
        gradients = loss_directions(logits, batch.labels, passed)
    with torch.no_grad():
        found |= _descents(passed, gradients, batch)
        if logits is not None and logits.ndim == 2:
            found |= _features(passed, batch) | {"logits": batch.own(logits.mT)}
            if batch.labels is not None:
                found["label"] = batch.own(batch.labels)[None]
    return {name: values.detach().cpu().numpy() for name, values in found.items()}


@torch.no_grad()
def _errors(passed: list[Passage], batch: Batch) -> dict[str, Tensor]:
    """The stream after each unit less the stream after the last of its stage, and the square of that."""
    ends = {passage.unit.stage: passage for passage in passed}  # the last of each stage stays
    kept = batch.kept_tokens
    rows: dict[str, list[Tensor]] = {"error": [], "square": []}
    for passage in passed:
        error = vectors(passage.left) - vectors(ends[passage.unit.stage].left)
        rows["error"].append(image_mean(error.mean(-1), kept))
        rows["square"].append(image_mean((error**2).mean(-1), kept))
    return {name: batch.own(torch.stack(values)) for name, values in rows.items()}


def _descents(
    passed: list[Passage], gradients: tuple[Tensor | None, ...], batch: Batch
) -> dict[str, Tensor]:
    """Cosine of each unit's move with −∂L/∂h before it, and its square; NaN where the shape changes."""
    rows: dict[str, list[Tensor]] = {"descent": [], "descent_share": []}
    nothing = torch.full((batch.rows,), torch.nan)
    for passage, gradient in zip(passed, gradients, strict=True):
        cosine = None
        if gradient is not None and passage.left.shape == passage.entered.shape:
            cosine = cosines(passage.left - passage.entered, -gradient)
        for name, power in (("descent", 1), ("descent_share", 2)):
            row = nothing if cosine is None else image_mean(cosine**power, batch.kept_tokens)
            rows[name].append(row.cpu())
    return {name: batch.own(torch.stack(values)) for name, values in rows.items()}


@torch.no_grad()
def _exits(
    network: ResidualNetwork, passed: list[Passage], batch: Batch, logits: Tensor | None
) -> dict[str, Tensor]:
    """What the model's own head makes of the stream after each unit whose shape it can read."""
    found = {
        name: torch.full((len(passed), batch.rows), torch.nan)
        for name in ("exit_error", "exit_agreement")
    }
    if logits is not None:
        for unit in range(first_exit(network), len(network)):
            read = early_exit(network, passed[unit], batch, logits)
            for name, rows in found.items():
                rows[unit] = read[name]
    return {name: batch.own(rows) for name, rows in found.items()}


def _features(passed: list[Passage], batch: Batch) -> dict[str, Tensor]:
    """Of the stream after each unit, the mean of every channel over places (tokens that are kept)."""
    found: dict[str, Tensor] = {}
    kept = batch.kept_tokens
    for passage in passed:
        left = passage.left
        values = left.movedim(channel_axis(left.shape[1:]), -1).double()
        # A lens of channels and not of all numbers: with more of these than examples it would fit anything.
        places = values.flatten(1, -2) if values.ndim > 2 else values[:, None]
        if kept is not None and kept.shape == places.shape[:2]:
            places = torch.where(kept[..., None].to(places.device), places, torch.nan)
        found[f"features{passage.unit.index}"] = batch.own(places.nanmean(1).mT)
    return found
