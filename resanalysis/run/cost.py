"""What an experiment will cost, said before it starts: from its work and a timed batch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resanalysis.experiments import Experiment
    from resanalysis.run.subject import Subject

# Longer than this is said.
LONG = 60.0
# Examples in a timed batch; batches at most, and seconds after which none is begun (another program may hold
# the processor for a while: what counts is the fastest); what a pass takes once batch norm is folded.
_EXAMPLES = 16
_BATCHES = 6
_TIMING = 0.5
_PREPARED = 0.6


@dataclass(frozen=True)
class Cost:
    """An estimate.

    Attributes
    ----------
    seconds : about.
    of : what multiplies: ``27 units × 600 draws × 20 sizes × 2,000 images``.
    """

    seconds: float
    of: str

    @property
    def long(self) -> bool:
        """Whether it is worth saying."""
        return self.seconds > LONG

    def __str__(self) -> str:
        return f"{self.of}: about {duration(self.seconds)}"


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``1.5 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def seconds_per_pass(subject: Subject) -> float:
    """How long one example takes through the whole network, of the fastest of some batches; 0 without data.

    0 too where the weights are in files, since reading them is most of it. The network is taken as it was
    unraveled: routes run up to twice as fast, once they are prepared, which takes longer than this.
    """
    import torch

    from resanalysis.routes.batches import Batches

    if subject.data is None or len(subject.data) == 0 or subject.network.files is not None:
        return 0.0
    network = subject.network.to(subject.device)
    # A detector takes seconds an image, and images of several sizes come one at a time.
    several = _EXAMPLES if subject.data.objects is None and subject.data.one_size else 1
    batches = Batches.of(network, subject.data, batch_size=several)
    batch = batches.batch(*next(batches.bounds()))
    times: list[float] = []
    with torch.inference_mode():
        while len(times) < 2 or (len(times) < _BATCHES and sum(times) < _TIMING):
            started = time.perf_counter()
            network(batch.inputs)
            if batches.device.type == "cuda":
                torch.cuda.synchronize(batches.device)
            times.append(time.perf_counter() - started)
    # The fastest and not the mean: what slows a batch down is never the network.
    return _PREPARED * min(times) / batch.rows


def cost_of(
    experiment: Experiment, subject: Subject, options: Mapping[str, Any], per_pass: float
) -> Cost:
    """What one experiment will cost.

    Parameters
    ----------
    per_pass : of ``seconds_per_pass``.
    """
    units = len(subject.network.units)
    work = experiment.work_of(units, options)
    there = len(subject.data) if subject.data is not None else 0
    number = min(int(options.get("images") or there), there)
    of = " × ".join([f"{units} units", *work.of, f"{number:,} examples"])
    return Cost(work.passes * number * per_pass + work.seconds, of)
