"""Record a data set's forward passes, some images at a time, and measure something along their paths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.utils._pytree as pytree
from numpy.typing import NDArray
from torch import Tensor

from resanalysis.errors import ResanalysisError
from resanalysis.network import ResidualNetwork
from resanalysis.path_gradients import At, Tape, record
from resanalysis.routes.evaluator import BlockStore, EvaluationData, free_memory
from resanalysis.routes.stored_blocks import stored_blocks

Arrays = Mapping[str, NDArray[Any]]
Measure = Callable[[Tape, slice], Arrays]

# On a CPU, a sweep is fastest while a stream stays in the cache.
_CACHED_BYTES = 2**20


@dataclass(frozen=True, eq=False)
class OverImages:
    """A data set, seen some images at a time through the recorded passes of a network.

    Attributes
    ----------
    network : from ``resanalysis.path_gradients.freeze``.
    data : examples with labels.
    at : where gradients are measured.
    size : images per recorded pass.
    store : finished blocks are read from it and written to it.
    """

    network: ResidualNetwork
    data: EvaluationData
    at: At
    size: int
    store: BlockStore | None = None
    show_progress: bool = False

    def measure(self, name: str, measure: Measure) -> dict[str, NDArray[np.float64]]:
        """Arrays by name, joined over images.

        Parameters
        ----------
        name : what is measured; also the key of its blocks in the store.
        measure : from a tape and the positions of its images to arrays whose last axis is the images.

        Raises
        ------
        ResanalysisError : if the data has no labels, or a gradient is not finite.
        """

        def block(start: int, stop: int) -> Arrays:
            found = measure(self._tape(start, stop), slice(start, stop))
            return {key: values[..., : stop - start] for key, values in found.items()}

        blocks = stored_blocks(
            f"{name}-{self.at}",
            len(self.data),
            self.size,
            block,
            description=name,
            store=self.store,
            show_progress=self.show_progress,
        )
        return {
            key: np.concatenate([block[key] for block in blocks], axis=-1).astype(np.float64)
            for key in blocks[0]
        }

    def _tape(self, start: int, stop: int) -> Tape:
        inputs, labels = self.data.batch(start, stop)
        if labels is None:
            raise ResanalysisError("gradients are those of the loss: the data has no labels")
        device, dtype = self.network.device, self.network.float_type
        missing = self.size - (stop - start) if self.network.batch_size else 0

        def placed(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            if missing and value.ndim:
                value = torch.cat([value, value[-1:].expand(missing, *value.shape[1:])])
            return value.to(device, dtype if value.is_floating_point() else None)

        tape = record(
            self.network,
            pytree.tree_map(placed, inputs),
            placed(labels),
            at=self.at,
            at_once=16 if device.type == "cuda" else 0,
        )
        if not bool(torch.isfinite(tape.cotangent).all() and torch.isfinite(tape.losses).all()):
            raise ResanalysisError(
                f"the loss of {self.network.name} is not finite on images {start} to {stop - 1}"
            )
        return tape


def stream_bytes(network: ResidualNetwork) -> int:
    """Bytes of the widest stream of one example."""
    shapes = [shape for unit in network.units for shape in (unit.in_shape, unit.out_shape)]
    size = 8 if network.float_type is torch.float64 else 4
    return size * max((int(np.prod(shape)) for shape in shapes), default=1)


def images_at_once(
    network: ResidualNetwork, streams: int, examples: int, memory: int | None = None
) -> int:
    """A number of images that keeps ``streams`` streams an image inside the memory budget.

    Parameters
    ----------
    memory : bytes; a quarter of what is free if left out.
    """
    one = stream_bytes(network)
    budget = free_memory(network.device) // 4 if memory is None else memory
    wanted = max(1, _CACHED_BYTES // one) if network.device.type == "cpu" else 64
    return max(1, min(wanted, 64, budget // (streams * one), examples))


def chosen_size(
    network: ResidualNetwork, streams: int, examples: int, batch_size: int | None
) -> int:
    """Images per pass: the network's fixed batch size, the user's, or what the memory takes."""
    return network.batch_size or batch_size or images_at_once(network, streams, examples)
