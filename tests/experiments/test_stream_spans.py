"""Angular distances of spans against streams collected one pass at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import resanalysis as ra
from tests.conftest import Batches, cifar


def test_spans_against_the_streams_of_single_images(batches: Batches) -> None:
    network = ra.unravel(cifar(20), batches.inputs)
    assert network.runs() == [(0, 1, 2), (4, 5), (7, 8)]
    frame = ra.stream_spans(network, batches, batch_size=4).set_index(["start", "length"])
    assert len(frame) == 6 + 3 + 3
    streams: list[list[torch.Tensor]] = []
    with torch.no_grad():
        for image in batches.inputs:
            h, side = network.enter(image[None])
            own = [h]
            for unit in network.units:
                own.append(unit(own[-1], side))
            streams.append([h.double().flatten() for h in own])
    for (start, length), row in frame.iterrows():  # type: ignore[misc]
        angles = [
            math.acos(
                float(
                    own[start]
                    @ own[start + length]
                    / own[start].norm()
                    / own[start + length].norm()
                )
            )
            / math.pi
            for own in streams
        ]
        assert row["distance"] == pytest.approx(np.mean(angles), rel=1e-5)
        drawn = stats.bootstrap((angles,), np.mean, method="BCa", n_resamples=2000, random_state=0)
        ends = drawn.confidence_interval
        found = row[["distance_low", "distance_high"]].to_numpy(float)
        assert found == pytest.approx([ends.low, ends.high], abs=0.1 * (ends.high - ends.low))
    assert frame.groupby("length")["best"].sum().tolist() == [1, 1, 1]
    best = frame[frame["best"]].sort_index(level="length")
    assert (best["distance"] == frame.groupby("length")["distance"].min().to_numpy()).all()


class Widening(nn.Module):
    """Two units, each with a projection to more channels."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.ModuleList([nn.Linear(4, 6), nn.Linear(6, 8)])
        self.skip = nn.ModuleList([nn.Linear(4, 6, bias=False), nn.Linear(6, 8, bias=False)])
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        for branch, skip in zip(self.branch, self.skip, strict=True):
            x = skip(x) + torch.relu(branch(x))
        return self.head(x)


def test_a_network_of_transitions_only_has_no_span() -> None:
    x = torch.randn(3, 4)
    network = ra.unravel(Widening().eval(), x)
    assert len(network) == 2
    with pytest.raises(
        ValueError, match="no unit of Widening keeps the shape of the stream: no span"
    ):
        ra.stream_spans(network, Batches(x, None))
