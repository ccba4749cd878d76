"""A user's own metric of a whole data set: a class with ``update`` and ``compute``, as torchmetrics'."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resanalysis.datasets.objects import Objects
from resanalysis.errors import ResanalysisError, raised, shown
from resanalysis.measures.detections import detections_in
from resanalysis.routes.scores import described
from resanalysis.routes.whole import Record, Statistic
from resanalysis.statistics.bootstrap import Floats
from resanalysis.view.outputs import logits_of

# Each resample is computed from the beginning, with no knowledge of how the metric adds up.
_RESAMPLES = 200


def is_updating(metric: object) -> bool:
    """Whether it is a class, or an instance of one, with ``update`` and ``compute``."""
    return all(callable(getattr(metric, name, None)) for name in ("update", "compute"))


@dataclass(frozen=True, eq=False)
class Updating:
    """Fed with ``update(outputs, targets)`` of all examples of a sample, asked with ``compute()``.

    Attributes
    ----------
    make : a fresh instance.
    targets : what ``update`` is given beside the outputs: ``Objects`` of each image, or labels (N, …).
    higher_is_better : what the class says of itself, as torchmetrics' do.
    """

    make: Callable[[], Any]
    name: str
    targets: Sequence[Objects] | Tensor
    resamples: int = _RESAMPLES
    higher_is_better: bool = True

    @staticmethod
    def of(metric: Any, targets: Sequence[Objects] | Tensor) -> Updating:
        """Of a class without arguments, or of an instance that has seen nothing."""
        kind: type = metric if isinstance(metric, type) else type(metric)
        make = metric if isinstance(metric, type) else (lambda: copy.deepcopy(metric))
        higher = getattr(metric, "higher_is_better", None) is not False
        return Updating(make, kind.__name__, targets, higher_is_better=higher)

    def records(self, output: Any, labels: Tensor | None, examples: int) -> list[Record]:
        """Detections of each image, or its logits."""
        if not isinstance(self.targets, Tensor):
            return detections_in(output, examples)
        logits = logits_of(output)
        if logits is None:
            raise ResanalysisError(
                f"the model returns {described(output)}, in which there are neither logits nor detections for "
                f"the metric {self.name}"
            )
        return [{"logits": row.cpu().numpy()} for row in logits]

    def statistic(self, records: Sequence[Record]) -> Statistic:
        """The numbers that ``compute`` returns for one route."""

        def computed(weights: Floats) -> Mapping[str, Floats]:
            rows = [self._computed(records, np.repeat(np.arange(len(records)), row.astype(int)))
                    for row in weights]  # fmt: skip
            return {name: np.array([row.get(name, np.nan) for row in rows]) for name in rows[0]}

        return computed

    def _computed(self, records: Sequence[Record], chosen: np.ndarray) -> dict[str, float]:
        """What the metric says of some examples, some of them several times."""
        try:
            # A fresh one each time: what it has seen before would count again.
            metric = self.make()
            metric.update(*self._given(records, chosen))
            return _numbers(metric.compute(), self.name)
        except (Exception, SystemExit, GeneratorExit) as error:
            if isinstance(error, ResanalysisError):
                raise
            file = getattr(inspect.getmodule(self.make), "__file__", None)
            raise ResanalysisError(
                f"the metric {self.name} raised {raised(error, file)}"
            ) from error

    def _given(self, records: Sequence[Record], chosen: np.ndarray) -> tuple[Any, Any]:
        """Copies of outputs and targets, as torchmetrics' metrics of images and of detections take them."""
        if isinstance(self.targets, Tensor):
            outputs = torch.stack([torch.from_numpy(records[place]["logits"]) for place in chosen])
            return outputs, self.targets[chosen]
        found = [
            {name: torch.from_numpy(value.copy()) for name, value in records[place].items()}
            for place in chosen
        ]
        return found, [_target(self.targets[place]) for place in chosen]


def _target(objects: Objects) -> dict[str, Tensor]:
    """The objects of an image with the corners of their boxes, as a detector returns them."""
    boxes = torch.from_numpy(objects.boxes.astype(np.float32))
    return {
        "boxes": torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1),
        "labels": torch.from_numpy(objects.labels.copy()),
        "iscrowd": torch.from_numpy(objects.crowd.astype(np.int64)),
        "area": torch.from_numpy(objects.areas.copy()),
    }


def _numbers(answer: Any, name: str) -> dict[str, float]:
    """One number as ``metric``, several of a dict as ``metric_KEY``; what is no number in it is left out."""
    if not isinstance(answer, Mapping):
        number = _number(answer)
        if number is None:
            raise ResanalysisError(
                f"the metric {name} computes {shown(answer)}; it must be a number, or a dict of numbers"
            )
        return {"metric": number}
    found = {f"metric_{key}": _number(value) for key, value in answer.items()}
    numbers = {key: value for key, value in found.items() if value is not None}
    if not numbers:
        raise ResanalysisError(f"the metric {name} computes {shown(dict(answer))}, no number in it")
    return numbers


def _number(value: Any) -> float | None:
    try:
        return float(value) if np.ndim(value) == 0 or np.size(value) == 1 else None
    except (TypeError, ValueError, RuntimeError):
        return None
