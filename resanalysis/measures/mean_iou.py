"""Mean intersection over union of a segmentation, over all pixels of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resanalysis.errors import ResanalysisError
from resanalysis.routes.scores import described
from resanalysis.routes.whole import Record, Statistic
from resanalysis.statistics.bootstrap import RESAMPLES, Floats
from resanalysis.view.outputs import logits_of


@dataclass(frozen=True)
class MeanIou:
    """``miou``: of each class the pixels that are in both over those in either, its mean over classes.

    Pixels whose label is no class count nowhere; a class in neither labels nor answers is left out.
    Source: Everingham et al. 2010, "The Pascal VOC Challenge", §4.
    """

    resamples: int = RESAMPLES

    def records(self, output: Any, labels: Tensor | None, examples: int) -> list[Record]:
        """Pixels ``both`` and ``either`` of each class (C,), of each image."""
        logits = logits_of(output)
        if logits is None or logits.ndim != 4 or labels is None:
            raise ResanalysisError(
                f"the model returns {described(output)}; a segmentation is scored by logits (N, classes, H, W)"
            )
        classes = logits.shape[1]
        # A class for what is NaN, which is right nowhere.
        answers = torch.where(logits.sum(1).isfinite(), logits.argmax(1), classes)
        kept = (labels >= 0) & (labels < classes)
        found: list[Record] = []
        for answer, label, known in zip(answers, labels, kept, strict=True):
            # Counting pairs gives the whole confusion table, labels by answers, at once.
            pairs = (label[known] * (classes + 1) + answer[known]).cpu()
            table = torch.bincount(pairs, minlength=classes * (classes + 1)).view(classes, -1)
            both = table.diagonal().numpy()
            either = table.sum(1).numpy() + table[:, :classes].sum(0).numpy() - both
            found.append({"both": both, "either": either})
        return found

    def statistic(self, records: Sequence[Record]) -> Statistic:
        """The mean over classes of one route."""
        both, either = (
            np.stack([record[name] for record in records]).astype(np.float64)
            for name in ("both", "either")
        )

        def mean(weights: Floats) -> Mapping[str, Floats]:
            union = weights @ either
            with np.errstate(invalid="ignore", divide="ignore"):
                shares = np.where(union > 0, (weights @ both) / union, 0.0)
                return {"miou": shares.sum(1) / (union > 0).sum(1)}

        return mean
