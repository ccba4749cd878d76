"""Something measured along the recorded passes of a data set, some examples at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from resanalysis.errors import ResanalysisError
from resanalysis.network import ResidualNetwork
from resanalysis.path_gradients.tape import At, Tape, record
from resanalysis.routes.batches import (
    Batch,
    Batches,
    Block,
    BlockStore,
    EvaluationData,
    joined,
    recorded_footprint,
)

Measure = Callable[[Tape, slice], Block]
"""From a tape and the positions of its examples to arrays whose last axis is the examples."""


@dataclass(frozen=True, eq=False)
class RecordedPasses:
    """A data set as it passes a network, on tape.

    Attributes
    ----------
    network : from ``resanalysis.path_gradients.freeze``.
    batches : examples with labels.
    at : where gradients are measured.
    """

    network: ResidualNetwork
    batches: Batches
    at: At

    @staticmethod
    def of(
        network: ResidualNetwork,
        data: EvaluationData,
        at: At,
        *,
        held: int,
        batch_size: int | None = None,
        store: BlockStore | None = None,
        show_progress: bool = False,
    ) -> RecordedPasses:
        """Passes of a frozen network.

        Parameters
        ----------
        held : streams of one example that are kept at the same time; with ``batch_size`` it has no effect.
        """
        batches = Batches.of(
            network,
            data,
            recorded_footprint(held),
            batch_size=batch_size,
            dtype=network.float_type,
            store=store,
            show_progress=show_progress,
        )
        return RecordedPasses(network, batches, at)

    def measure(self, name: str, measure: Measure) -> dict[str, NDArray[np.float64]]:
        """Arrays by name, joined over examples.

        Parameters
        ----------
        name : what is measured; also the key of its blocks in the store.

        Raises
        ------
        ResanalysisError : if the data has no labels, or a gradient is not finite.
        """

        def block(batch: Batch) -> Block:
            found = measure(self._tape(batch), slice(batch.start, batch.stop))
            return {key: batch.own(values) for key, values in found.items()}

        blocks = self.batches.each(f"{name}-{self.at}", block, description=name)
        return {key: values.astype(np.float64) for key, values in joined(blocks).items()}

    def _tape(self, batch: Batch) -> Tape:
        if batch.labels is None:
            raise ResanalysisError("gradients are those of the loss: the data has no labels")
        at_once = 16 if self.network.device.type == "cuda" else 0
        tape = record(self.network, batch.inputs, batch.labels, at=self.at, at_once=at_once)
        if not bool(torch.isfinite(tape.cotangent).all() and torch.isfinite(tape.losses).all()):
            raise ResanalysisError(
                f"the loss of {self.network.name} is not finite on images {batch.start} to "
                f"{batch.stop - 1}"
            )
        return tape
