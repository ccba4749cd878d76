"""After which unit the answer of each example no longer changes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from resanalysis.datasets import Dataset
from resanalysis.errors import ResanalysisError
from resanalysis.experiments.refinement_exits import Exits, exits
from resanalysis.experiments.refinement_images import Values, refinement_images
from resanalysis.network import ResidualNetwork
from resanalysis.provenance import Provenance
from resanalysis.routes.batches import BlockStore


def refinement_depth(
    network: ResidualNetwork,
    data: Dataset,
    *,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    store: BlockStore | None = None,
    show_progress: bool = False,
) -> pd.DataFrame:
    """The prediction depth of each example of the half that the lenses of ``refinement`` were not fitted on.

    Parameters
    ----------
    network : the unraveled view of a model whose output is (N, classes).
    batch_size, device, store, show_progress : how it runs; they change no number beyond rounding.
    seed : of the halves.

    Returns
    -------
    DataFrame : a row per example: ``image``, its position in the data; ``depth``, the first unit from which on
        every lens says what the model says, the number of units where the last one does not; ``answer`` of the
        model; with labels ``label`` and ``correct``.

    Raises
    ------
    ResanalysisError : if there are fewer than two examples, or the output is not (N, classes).

    Source: Baldock, Maennel and Neyshabur 2021, "Deep learning through the lens of example difficulty".
    """
    values = refinement_images(
        network, data, batch_size=batch_size, device=device, store=store,
        show_progress=show_progress,
    )  # fmt: skip
    read = exits(values, len(network), seed)
    if read is None:
        raise ResanalysisError(
            f"{network.name} has no prediction depth here: it takes an output (N, classes) and 2 examples"
        )
    return depth_table(network, data, values, read, seed)


def depth_table(
    network: ResidualNetwork, data: Dataset, values: Values, read: Exits, seed: int
) -> pd.DataFrame:
    """The table of ``refinement_depth`` from what is known of each example."""
    positions = getattr(data, "indices", np.arange(len(data)))
    frame = pd.DataFrame(
        {"image": positions[read.examples], "depth": read.depth, "answer": read.final}
    )
    labels = values.get("label")
    if labels is not None:
        frame["label"] = labels[0][read.examples]
        frame["correct"] = frame["label"] == frame["answer"]
    frame.attrs = Provenance.of(network, data, seed, units=len(network)).facts()
    return frame
