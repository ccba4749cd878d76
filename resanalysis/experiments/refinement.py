"""How far the stream after each unit is from where its stage ends: is it an estimate that is refined?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from resanalysis.datasets import Dataset
from resanalysis.errors import ResanalysisError
from resanalysis.measures.passage import Passage, image_mean, passages, vectors
from resanalysis.network import ResidualNetwork
from resanalysis.routes.batches import Batch, Batches, Block, BlockStore, Footprint, joined
from resanalysis.statistics.bootstrap import mean_band


def refinement(
    network: ResidualNetwork,
    data: Dataset,
    *,
    level: float = 0.95,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    store: BlockStore | None = None,
    show_progress: bool = False,
) -> pd.DataFrame:
    """Measure the stream after each unit less the stream after the last unit of its stage.

    If units refine one estimate, this error has mean 0 at every unit, and its spread falls along the stage.
    An example's error is averaged over all its numbers (of tokens, those the attention mask keeps).

    Parameters
    ----------
    network : the unraveled view, in eval mode.
    level : of the intervals.
    batch_size, device, store, show_progress : how it runs; they change no number beyond rounding.
    seed : of the bootstrap.

    Returns
    -------
    DataFrame : a row per unit: ``unit``, ``name``, ``stage``; ``mean`` of the error with its BCa bootstrap
        interval over examples; ``spread``, its standard deviation over the numbers of all examples. At the
        last unit of a stage all are 0.

    Raises
    ------
    ResanalysisError : if there are no examples or the stream is not finite.

    Source: Greff, Srivastava and Schmidhuber 2017, equation 2 and figure 3.
    """
    if len(data) == 0:
        raise ResanalysisError(f"nothing to measure {network.name} on: the data has no examples")
    ready = network if device is None else network.to(device)
    batches = Batches.of(
        ready, data, Footprint(live=1, held=16 + len(ready), output=12),
        batch_size=batch_size, store=store, show_progress=show_progress,
    )  # fmt: skip
    found = joined(batches.each("refinement", lambda batch: _block(ready, batch)))
    band = mean_band(found["error"], level=level, seed=seed)
    # Of all numbers at once: the variance between examples is part of it.
    spread = np.sqrt(np.maximum(found["square"].mean(1) - found["error"].mean(1) ** 2, 0))
    frame = pd.DataFrame(
        {
            "unit": [unit.index for unit in network.units],
            "name": [unit.name for unit in network.units],
            "stage": [unit.stage for unit in network.units],
            "mean": band.mean,
            "mean_low": band.low,
            "mean_high": band.high,
            "spread": spread,
        }
    )
    frame.attrs = {
        "model": network.name,
        "data": data.name,
        "n": len(data),
        "seed": seed,
        "level": level,
        "subset": data.subset,
        "batch_norm": "running statistics",
    }
    return frame


@torch.no_grad()
def _block(network: ResidualNetwork, batch: Batch) -> Block:
    """``error`` and ``square`` (units, examples): the error and its square, averaged over an example."""
    rows: list[tuple[Tensor, Tensor]] = []
    waiting: list[Tensor] = []  # of the stage that has not ended

    def see(passage: Passage) -> None:
        waiting.append(passage.left)
        if not bool(passage.left[: batch.stop - batch.start].isfinite().all()):
            raise ResanalysisError(
                f"the stream after unit {passage.unit.index} ({passage.unit.name}) is not finite on examples "
                f"{batch.start} to {batch.stop - 1}: check the weights, and how the input is normalised"
            )
        following = passage.unit.index + 1
        last = following == len(network)
        if last or network.units[following].stage != passage.unit.stage:
            end = vectors(passage.left)
            for left in waiting:
                error = vectors(left) - end
                rows.append(
                    (
                        image_mean(error.mean(-1), batch.kept_tokens),
                        image_mean((error**2).mean(-1), batch.kept_tokens),
                    )
                )
            waiting.clear()

    passages(network, *network.enter(batch.inputs), see)
    error, square = (
        torch.stack(values)[:, : batch.stop - batch.start] for values in zip(*rows, strict=True)
    )
    return {"error": error.cpu().numpy(), "square": square.cpu().numpy()}
