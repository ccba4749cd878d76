"""What the network does as all its branches grow or shrink together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from resanalysis.datasets import Dataset
from resanalysis.errors import ResanalysisError
from resanalysis.network import ResidualNetwork
from resanalysis.provenance import Provenance
from resanalysis.routes.evaluator import BlockStore, evaluate
from resanalysis.routes.route import scaled
from resanalysis.statistics.intervals import intervals_of

FACTORS = tuple(step / 10 for step in range(16))


def scaling(
    network: ResidualNetwork,
    data: Dataset,
    *,
    factors: Sequence[float] = FACTORS,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    store: BlockStore | None = None,
    show_progress: bool = False,
) -> pd.DataFrame:
    """Multiply the branches of all units by one factor and measure the network.

    At 1 it is the network as trained, at 0 every branch is deleted. Weights and batch-norm statistics stay as
    trained; the factor stands behind the branch, before the addition.

    Parameters
    ----------
    network : the unraveled view. Layers without a skip run as they are. A highway unit's carry gate stays as
        the input sets it, so that 0 is not a deletion there.
    factors : what to multiply by.
    batch_size, device, store, show_progress : how it runs; they change no number.
    seed : recorded; nothing here is random.

    Returns
    -------
    DataFrame : a row per factor: ``factor``; ``error`` with Wilson's interval (a bootstrap of errors that
        are fractions); mean ``loss`` (nats) with its BCa interval; ``agreement`` with the intact predictions;
        ``kl`` from the intact output (nats). Intervals are over examples. Without labels, error and loss
        are NaN.

    Raises
    ------
    ResanalysisError : if there are no factors or one is not finite, or no unit has a skip.
    """
    wanted = sorted({float(factor) for factor in factors})
    if not wanted or not np.isfinite(wanted).all():
        raise ResanalysisError(f"branches are multiplied by finite numbers, got {list(factors)}")
    units = [unit.index for unit in network.units if unit.skip_kind != "none"]
    if not units:
        raise ResanalysisError(
            f"no unit of {network.name} has a skip: there is no branch to multiply"
        )
    scores = evaluate(
        network,
        [scaled(network, dict.fromkeys(units, factor)) for factor in wanted],
        data,
        batch_size=batch_size,
        device=device,
        store=store,
        show_progress=show_progress,
        description="scaling",
    )
    frame = pd.DataFrame({"factor": wanted})
    for name in ("error", "loss"):
        band = intervals_of(scores.values[name], seed=seed)
        frame[name], frame[f"{name}_low"], frame[f"{name}_high"] = band
    for name in ("agreement", "kl"):
        frame[name] = scores.mean(name)
    frame.attrs = Provenance.of(
        network,
        data,
        seed,
        multiplied=units,
    ).facts()
    return frame
