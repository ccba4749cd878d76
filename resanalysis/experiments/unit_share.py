"""Which units carry the gradient, at which path lengths: exact, without visiting 2ⁿ paths."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
import torch

from resanalysis.datasets import Dataset
from resanalysis.errors import ResanalysisError
from resanalysis.network import ResidualNetwork
from resanalysis.path_gradients import At, Tape, freeze, residual_units, unit_shares
from resanalysis.path_gradients.recorded import RecordedPasses
from resanalysis.provenance import Provenance
from resanalysis.routes.batches import Block, BlockStore
from resanalysis.statistics.bootstrap import Band, mean_band


def unit_share(
    network: ResidualNetwork,
    data: Dataset,
    *,
    at: At = "input",
    images: int | None = 16,
    max_length: int | None = None,
    dtype: Literal["float32", "float64"] = "float32",
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    store: BlockStore | None = None,
    show_progress: bool = False,
) -> pd.DataFrame:
    """Share of the gradient on the paths of each length that pass each unit's branch.

    Takes about 2.5 times as long as the exact sums by length (which are n/2 backward passes) and keeps
    n²/2 streams an image.

    Parameters
    ----------
    network, data, at, images, max_length, dtype : as for ``gradients``.

    Returns
    -------
    DataFrame : one row per unit with a skip and length: ``unit``, ``name``, ``stage``, ``transition``,
        ``length``, ``share`` = ⟨G_k⁽ⁱ⁾, g⟩/‖g‖² averaged over images, and its bootstrap interval
        ``share_low``, ``share_high``. Over units, the shares of length k sum to k times the signed share
        of that length; over lengths, those of a unit sum to the part of the gradient its branch passes:
        ``total``, with its own interval ``total_low``, ``total_high``, the same in all rows of the unit.

    Raises
    ------
    ResanalysisError : as for ``gradients``, and where no image has a gradient.
    """
    if max_length is not None and max_length < 0:
        raise ResanalysisError(f"the longest path has length 0 or more, got {max_length}")
    limited = data if images is None else data.limited(images, seed)
    ready = freeze(network, device, torch.float64 if dtype == "float64" else torch.float32)
    n = residual_units(ready)
    last = n if max_length is None else min(max_length, n)

    def measure(tape: Tape, _: slice) -> Block:
        return {"shares": unit_shares(tape, max_length=last).cpu().numpy()}

    over = RecordedPasses.of(
        ready,
        limited,
        at,
        held=(n + 9) * (n + 1) // 2,
        batch_size=batch_size,
        store=store,
        show_progress=show_progress,
    )
    shares = over.measure("unit shares", measure)["shares"]
    # An image without a gradient has no shares of it.
    used = shares[:, :, np.isfinite(shares).all(axis=(0, 1))]
    if not used.shape[2]:
        raise ResanalysisError(f"the loss of {network.name} has no gradient on any of the images")
    whole = mean_band(used.sum(axis=1), seed=seed)
    frame = _table(ready, mean_band(used.reshape(n * (last + 1), -1), seed=seed), whole, last)
    frame.attrs = Provenance.of(
        network,
        limited,
        seed,
        at=at,
        units=n,
        dtype=dtype,
    ).facts()
    return frame


def _table(network: ResidualNetwork, band: Band, whole: Band, last: int) -> pd.DataFrame:
    """A row per unit with a skip and length; the bands have them, and the units, in this order."""
    units = [unit for unit in network.units if unit.skip_kind != "none"]
    facts = [
        {
            "unit": unit.index,
            "name": unit.name,
            "stage": unit.stage,
            "transition": unit.transition,
            "length": length,
        }
        for unit in units
        for length in range(last + 1)
    ]
    return pd.DataFrame(facts).assign(
        share=band.mean,
        share_low=band.low,
        share_high=band.high,
        total=np.repeat(whole.mean, last + 1),
        total_low=np.repeat(whole.low, last + 1),
        total_high=np.repeat(whole.high, last + 1),
    )
