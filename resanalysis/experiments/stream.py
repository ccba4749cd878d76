"""What each unit adds to the stream, image by image, on the intact network."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from resanalysis.experiments.stream_images import MEASURED, measured_images
from resanalysis.measures.passage import (
    batch_norm_scale,
    gate_bias,
    learned_scale,
)
from resanalysis.network import ResidualNetwork
from resanalysis.provenance import Provenance
from resanalysis.routes.evaluator import BlockStore, EvaluationData
from resanalysis.statistics.intervals import intervals_of

Floats = NDArray[np.float64]


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
    averaged, with a bootstrap interval over examples (Wilson's where every value is 0 or 1).

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
        size of the factor it ends in (layer scale, SkipInit); ``gate_bias``, mean bias of a transform gate;
        ``stage``, ``transition``. What does not exist is NaN.

    Raises
    ------
    ResanalysisError : if a branch or the loss is not finite, or there is no data.

    Source: Csordás et al. 2025 (norms, cosine); Men et al. 2024, ShortGPT (influence); Jastrzębski et al.
    2018 (gradient cosine, early exit); Srivastava et al. 2015 (gates).
    """
    images = measured_images(
        network,
        data,
        batch_size=batch_size,
        device=device,
        store=store,
        show_progress=show_progress,
    )
    frame = pd.DataFrame(
        {
            "unit": [unit.index for unit in network.units],
            "name": [unit.name for unit in network.units],
        }
    )
    bounds: dict[str, Floats] = {}
    for name in MEASURED:
        found = intervals_of(images[name], level=level, seed=seed)
        frame[name], bounds[f"{name}_low"], bounds[f"{name}_high"] = found
    facts = {
        "stage": [unit.stage for unit in network.units],
        "transition": [unit.transition for unit in network.units],
        "bn_scale": _numbers([batch_norm_scale(unit.branch) for unit in network.units]),
        "scale": _numbers([learned_scale(unit.branch) for unit in network.units]),
        "gate_bias": _numbers(
            [gate_bias(unit.skip) if unit.skip_kind == "gate" else None for unit in network.units]
        ),
    }
    frame = frame.assign(**facts, **bounds)
    frame.attrs = Provenance.of(
        network,
        data,
        seed,
        level=level,
        vectors="one per token"
        if any(len(unit.in_shape) == 2 for unit in network.units)
        else "one per image",
    ).facts()
    return frame


def _numbers(values: list[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]
