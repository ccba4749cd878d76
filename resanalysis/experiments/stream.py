"""What each unit adds to the stream, image by image, on the intact network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.utils._pytree as pytree
from numpy.typing import NDArray
from torch import Tensor

from resanalysis.evaluate import BlockStore, EvaluationData
from resanalysis.experiments.over_images import chosen_size
from resanalysis.network import Inputs, ResidualNetwork
from resanalysis.path import freeze
from resanalysis.path.tape import example_losses
from resanalysis.progress import progress_bar
from resanalysis.scores import NAMES, scores
from resanalysis.statistics import wilson
from resanalysis.stream_measures import (
    Passage,
    batch_norm_scale,
    cosines,
    image_mean,
    learned_scale,
    norms,
    passages,
    transform_gate,
)

Floats = NDArray[np.float64]

MEASURED = (
    "branch_norm", "skip_norm", "ratio", "cosine", "influence", "gradient_cosine", "exit_error",
    "exit_loss", "exit_agreement", "gate",
)  # fmt: skip
RESAMPLES = 1000


def stream(
    network: ResidualNetwork,
    data: EvaluationData,
    *,
    level: float = 0.95,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    store: BlockStore | None = None,
    show_progress: bool = False,
) -> pd.DataFrame:
    """Measure skip and branch of every unit on the intact network in eval mode.

    A stream (N, T, C) is one vector a token, whose values are averaged over the tokens of an example that
    the attention mask keeps; any other stream is one vector an image. Values are per example, then
    averaged, with a bootstrap interval over examples (Wilson's for an error of 0 or 1).

    Parameters
    ----------
    network : the unraveled view.
    data : examples; without labels there is no ``gradient_cosine``, ``exit_error`` and ``exit_loss``.
    batch_size, device, store, show_progress : how it runs; they change no number beyond rounding.
    seed : of the bootstrap.

    Returns
    -------
    DataFrame : a row per unit with, each with ``_low`` and ``_high``,
        ``branch_norm``, ``skip_norm`` : Euclidean norms of the two terms of the sum.
        ``ratio`` : branch over skip norm (the mean of ratios).
        ``cosine`` : of branch and skip.
        ``influence`` : 1 − cosine of the stream before and after the unit; where its shape changes, the
        skip's output stands for the stream before.
        ``gradient_cosine`` : of the branch with −∂L/∂h at the unit's input, L the example's own
        cross-entropy; NaN where the unit changes the shape.
        ``exit_error``, ``exit_loss``, ``exit_agreement`` : of the model's own head, put on the stream after
        this unit, for the units of the last stage; agreement is with the whole model.
        ``gate`` : mean transform gate of a highway unit.
        and without interval ``bn_scale``, mean |γ| of the batch norm the branch ends in; ``scale``, mean
        size of the factor it ends in (layer scale, SkipInit); ``stage``, ``transition``. What does
        not exist is NaN.

    Raises
    ------
    ValueError : if a branch or the loss is not finite, or there is no data.

    Source: Csordás et al. 2025 (norms, cosine); Men et al. 2024, ShortGPT (influence); Jastrzębski et al.
    2018 (gradient cosine, early exit); Srivastava et al. 2015 (gates).
    """
    if len(data) == 0:
        raise ValueError(f"nothing to measure {network.name} on: the data has no examples")
    ready = freeze(network, device)
    size = chosen_size(ready, 9 * (len(ready) + 1), len(data), batch_size)
    blocks: list[Mapping[str, NDArray[Any]]] = []
    with progress_bar("stream", len(data), show=show_progress) as advance:
        for start in range(0, len(data), size):
            stop = min(start + size, len(data))
            key = f"stream-{start:08d}-{stop:08d}"
            block = None if store is None else store.get(key)
            if block is None:
                block = _block(ready, data, start, stop)
                if store is not None:
                    store.put(key, block)
            blocks.append(block)
            advance(stop - start)
    frame = pd.DataFrame(
        {
            "unit": [unit.index for unit in network.units],
            "name": [unit.name for unit in network.units],
        }
    )
    bounds: dict[str, Floats] = {}
    for name in MEASURED:
        values = np.concatenate([block[name] for block in blocks], axis=1).astype(np.float64)
        frame[name], bounds[f"{name}_low"], bounds[f"{name}_high"] = (
            _rates(values, level) if name == "exit_error" else mean_bands(values, level, seed)
        )
    facts = {
        "stage": [unit.stage for unit in network.units],
        "transition": [unit.transition for unit in network.units],
        "bn_scale": _numbers([batch_norm_scale(unit.branch) for unit in network.units]),
        "scale": _numbers([learned_scale(unit.branch) for unit in network.units]),
    }
    frame = frame.assign(**facts, **bounds)
    frame.attrs = {
        "model": network.name,
        "data": getattr(data, "name", "data"),
        "n": len(data),
        "subset": getattr(data, "subset", ""),
        "seed": seed,
        "level": level,
        "batch_norm": "running statistics",
        "vectors": "one per token" if _by_token(network) else "one per image",
    }
    return frame


def _by_token(network: ResidualNetwork) -> bool:
    return any(len(unit.in_shape) == 2 for unit in network.units)


def _numbers(values: list[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


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
        raise ValueError(
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
        raise ValueError("the gradient of the loss at the last unit is not finite")
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


def mean_bands(values: Floats, level: float = 0.95, seed: int = 0) -> tuple[Floats, Floats, Floats]:
    """Means of (units, N) over images with percentile bootstrap intervals; NaN values are left out.

    The same resamples serve every unit, so that units can be compared. Source: Efron 1979.
    """
    there = np.isfinite(values)
    filled = np.where(there, values, 0.0)
    images = values.shape[1]
    weights = np.random.default_rng(seed).multinomial(
        images, np.full(images, 1 / images), size=RESAMPLES
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(1) / there.sum(1)
        if images < 2:
            return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
        drawn = (filled @ weights.T) / (there @ weights.T)
    low, high = np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    known = there.any(axis=1)
    if known.any():
        ends = [0.5 - level / 2, 0.5 + level / 2]
        low[known], high[known] = np.nanquantile(drawn[known], ends, axis=1)
    return mean, low, high


def _rates(values: Floats, level: float) -> tuple[Floats, Floats, Floats]:
    """Error rates with Wilson intervals; the errors of a language model are fractions of positions."""
    known = np.isfinite(values).all(axis=1)
    if not np.isin(values[known], (0.0, 1.0)).all():
        return mean_bands(values, level)
    mean, low, high = (np.full(len(values), np.nan) for _ in range(3))
    mean[known] = values[known].mean(axis=1)
    low[known], high[known] = wilson(values[known].sum(axis=1), values.shape[1], level)
    return mean, low, high
