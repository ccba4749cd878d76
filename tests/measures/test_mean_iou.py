"""Mean intersection over union against masks counted one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import resanalysis as ra
from resanalysis.measures.mean_iou import MeanIou
from resanalysis.statistics.bootstrap import resampled


def slowly(logits: torch.Tensor, labels: torch.Tensor) -> float:
    shares = []
    answers = logits.argmax(1)
    known = (labels >= 0) & (labels < logits.shape[1])
    for number in range(logits.shape[1]):
        mine, theirs = (answers == number) & known, (labels == number) & known
        if (mine | theirs).any():
            shares.append(float((mine & theirs).sum() / (mine | theirs).sum()))
    return float(np.mean(shares))


def test_of_samples_of_images() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, 5, 5, generator=generator)
    logits[:, 3] = -9  # a class that is neither seen nor said
    labels = torch.randint(0, 3, (6, 5, 5), generator=generator)
    labels[0, 0], labels[1, :2] = 255, -100
    records = MeanIou().records({"out": logits}, labels, 6)
    weights = np.concatenate([np.ones((1, 6)), next(resampled(6, resamples=5, seed=0))])
    found = MeanIou().statistic(records)(weights)["miou"]
    for times, value in zip(weights, found, strict=True):
        rows = np.repeat(np.arange(6), times.astype(int))
        assert value == pytest.approx(slowly(logits[rows], labels[rows]))


def test_what_is_not_finite_is_right_nowhere() -> None:
    labels = torch.zeros(1, 2, 2, dtype=torch.long)
    logits = torch.zeros(1, 2, 2, 2)
    logits[0, 0] = 1
    assert MeanIou().statistic(MeanIou().records(logits, labels, 1))(np.ones((1, 1)))["miou"] == [1]
    logits[0, 0, 0] = torch.nan
    found = MeanIou().statistic(MeanIou().records(logits, labels, 1))(np.ones((1, 1)))
    assert found["miou"] == [0.5]


def test_what_is_no_segmentation_is_refused() -> None:
    with pytest.raises(ra.ResanalysisError, match=r"logits \(N, classes, H, W\)"):
        MeanIou().records(torch.zeros(2, 3), torch.zeros(2, 2, 2, dtype=torch.long), 2)
