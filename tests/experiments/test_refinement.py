"""Mean and spread of the error against the streams written out, and where they must be 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import resanalysis as ra
from resanalysis.errors import ResanalysisError
from tests.conftest import cifar
from tests.experiments.one_by_one import Kept, tiny_data, tiny_network
from tests.experiments.test_effects import Chain, Masked, Nonlinear, Rows, blocks, factor

CONTRACT = ["unit", "name", "stage", "mean", "mean_low", "mean_high", "spread"]


def streams_written_out(x: Tensor) -> list[np.ndarray]:
    model = cifar(14)
    found = []
    with torch.no_grad():
        h = torch.relu(model.bn1(model.conv1(x)))
        for block in blocks(model):
            branch = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(h)))))
            h = torch.relu(block.shortcut(h) + branch)
            found.append(h.double().numpy())
    return found


def test_table_equals_the_streams_written_out() -> None:
    data = tiny_data(7)
    store = Kept()
    frame = ra.refinement(tiny_network(data), data, batch_size=3, store=store)
    assert store.puts == 3
    assert list(frame.columns) == CONTRACT
    assert frame["stage"].tolist() == [0, 0, 1, 1, 2, 2]
    x = data.batch(0, 7)[0]
    assert isinstance(x, Tensor)
    streams = streams_written_out(x)
    for row in frame.to_dict("records"):
        error = streams[row["unit"]] - streams[2 * row["stage"] + 1]
        assert row["mean"] == pytest.approx(error.mean(), abs=1e-6)
        assert row["spread"] == pytest.approx(error.std(), rel=1e-5, abs=1e-6)
        means = error.mean(axis=(1, 2, 3))
        near = means.std(ddof=1) / np.sqrt(7)
        assert means.min() - 1e-6 <= row["mean_low"] <= row["mean"] <= row["mean_high"]
        assert row["mean_high"] <= means.max() + 1e-6
        if row["unit"] % 2:  # the end of a stage
            assert row["mean"] == row["mean_low"] == row["mean_high"] == row["spread"] == 0
        else:
            assert 1 < (row["mean_high"] - row["mean_low"]) / near < 6


def test_linear_chain_in_closed_form() -> None:
    sizes = [0.5, -0.25, 1.0]
    data = Rows(9, 6)
    model = Chain([factor(a) for a in sizes])
    frame = ra.refinement(ra.unravel(model, data.x[:2]), data)  # type: ignore[arg-type]
    with torch.no_grad():
        start = model.stem(data.x).double().numpy()
    grown = np.cumprod([1 + a for a in sizes])
    np.testing.assert_allclose(frame["mean"], (grown - grown[-1]) * start.mean(), atol=1e-6)
    np.testing.assert_allclose(frame["spread"], abs(grown - grown[-1]) * start.std(), rtol=1e-5)


def test_tokens_that_the_mask_leaves_out_do_not_count() -> None:
    torch.manual_seed(5)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 1, 0]])
    data: Any = Rows(4, 3, 6, mask=mask)
    model = Masked([Nonlinear() for _ in range(2)])
    frame = ra.refinement(ra.unravel(model, data.batch(0, 2)[0]), data)
    with torch.no_grad():
        h = model.stem(data.x)
        h = h + model.layers[0](h)
        error = -model.layers[1](h).double().numpy()
    each = [error[i][mask[i].bool().numpy()] for i in range(4)]
    mean = np.mean([one.mean() for one in each])
    square = np.mean([(one**2).mean() for one in each])
    assert frame["mean"][0] == pytest.approx(mean, abs=1e-6)
    assert frame["spread"][0] == pytest.approx(np.sqrt(square - mean**2), rel=1e-5)


def test_what_cannot_be_measured_is_refused() -> None:
    data: Any = Rows(3, 6)
    network = ra.unravel(Chain([factor(0.5)]), data.x[:2])
    data.x[2, 0] = float("nan")
    with pytest.raises(ResanalysisError, match=r"stream after unit 0 \(layers.0\) is not finite"):
        ra.refinement(network, data)
    empty: Any = Rows(0, 6)
    with pytest.raises(ResanalysisError, match="the data has no examples"):
        ra.refinement(network, empty)
