"""A training in several processes: each takes its share of every batch, and all make the same step.

All chance that concerns a batch (its examples, crops, flips, the units that are left out) is drawn for the
whole batch, by every process alike. So an image is cropped as it would be in one process alone.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn

from resanalysis.errors import ResanalysisError
from resanalysis.models.survival import survivals
from resanalysis.ranks import PATIENCE, ranks, with_others
from resanalysis.training.recipe import Recipe


@dataclass(frozen=True)
class Division:
    """How the batches of a training are divided.

    Attributes
    ----------
    network : what a step calls: the model itself, or around it what averages the processes' gradients.
    share : the examples of a batch that are this process's.
    group : the processes; ``None`` where there is one.
    """

    network: nn.Module
    share: slice
    group: Any = None

    def weight(self, mine: int, whole: int) -> float:
        """What the mean over a share counts, so that the processes' average is the mean over the batch.

        1 where all shares are as large.
        """
        return mine * ranks().size / whole

    def mean(self, values: Tensor) -> Tensor:
        """Of what the processes have, in each of them."""
        if self.group is None:
            return values
        total = values.clone()
        with with_others():
            distributed.all_reduce(total, group=self.group)
        return total / ranks().size

    def own_chance(self, seed: int, step: int) -> None:
        """Another dropout for each process, that neither the state file nor the others need to know."""
        if self.group is not None:
            torch.manual_seed(((seed << 40) + step * ranks().size + ranks().rank) % 2**63)

    def share_statistics(self) -> None:
        """Give the first process's running means and variances to all, before they are tested with.

        A training step does the same before it begins.
        """
        if self.group is not None:
            for buffer in self.network.buffers():
                with with_others():
                    distributed.broadcast(buffer, 0, group=self.group)


def divided(model: nn.Module, recipe: Recipe, examples: int, device: str) -> Division:
    """The division of each batch among the processes of this command.

    Batch norm takes the mean and variance of the share that a process has, as two GPUs did in He et al. 2015:
    torch's synchronised batch norm exists on GPUs only, and a result would depend on where it was made.

    Raises
    ------
    ResanalysisError : if a batch has fewer examples than there are processes.
    """
    size, rank = ranks().size, ranks().rank
    if size == 1:
        return Division(model, slice(None))
    batch = min(recipe.batch_size, examples)
    if batch < size:
        raise ResanalysisError(
            f"a batch of {batch} cannot be divided among {size} processes; start at most {batch}"
        )
    group = _group(device)
    # Branches that are left out have no gradient, in all processes alike.
    left_out = recipe.train_units is not None or any(s.probability < 1 for s in survivals(model))
    with with_others():
        network = nn.parallel.DistributedDataParallel(
            model, process_group=group, find_unused_parameters=left_out
        )
    return Division(network, slice(rank, None, size), group)


def _group(device: str) -> Any:
    """The processes as they hand round gradients: over NCCL where each has a GPU of its own."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", ranks().size))
    own = device == "cuda" and here <= torch.cuda.device_count()
    backend = "nccl" if own and distributed.is_nccl_available() else "gloo"
    return distributed.new_group(backend=backend, timeout=PATIENCE)
