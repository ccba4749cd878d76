"""Scaled branches against the model written out, and the factors that change nothing or delete all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import resanalysis as ra
from resanalysis.datasets import Dataset
from resanalysis.network import ResidualNetwork
from resanalysis.statistics.intervals import wilson
from tests.conftest import cifar
from tests.experiments.one_by_one import Plain, tiny_data, tiny_network
from tests.reference import bca, post_activation_pass

CONTRACT = [
    "factor", "error", "error_low", "error_high", "loss", "loss_low", "loss_high", "agreement", "kl",
]  # fmt: skip


@pytest.fixture(scope="module")
def data() -> Dataset:
    return tiny_data()


@pytest.fixture(scope="module")
def network(data: Dataset) -> ResidualNetwork:
    return tiny_network(data)


def test_table_equals_the_model_written_out(network: ResidualNetwork, data: Dataset) -> None:
    frame = ra.scaling(network, data)
    assert list(frame.columns) == CONTRACT
    assert frame["factor"].tolist() == [round(0.1 * step, 1) for step in range(16)]
    x, y = data.batch(0, 20)
    assert isinstance(x, Tensor)
    assert y is not None
    intact = torch.log_softmax(cifar(14)(x).double(), 1)
    for row in frame.to_dict("records"):
        logits = post_activation_pass(
            cifar(14), x, range(6), lambda _, skip, branch, by=row["factor"]: skip + by * branch
        ).double()
        losses = F.cross_entropy(logits, y, reduction="none").numpy()
        wrong = (logits.argmax(1) != y).numpy()
        assert row["error"] == wrong.mean()
        assert [row["error_low"], row["error_high"]] == pytest.approx(
            [float(end) for end in wilson(wrong.sum(), 20)]
        )
        assert row["loss"] == pytest.approx(losses.mean(), abs=1e-5)
        assert [row["loss_low"], row["loss_high"]] == pytest.approx(bca(losses), abs=1e-4)
        assert row["agreement"] == (logits.argmax(1) == intact.argmax(1)).numpy().mean()
        apart = F.kl_div(torch.log_softmax(logits, 1), intact, reduction="none", log_target=True)
        assert row["kl"] == pytest.approx(float(apart.sum(1).mean()), abs=1e-5)


def test_one_is_the_intact_network_and_zero_deletes_all(
    network: ResidualNetwork, data: Dataset
) -> None:
    frame = ra.scaling(network, data, factors=[1, 0, 1]).set_index("factor")
    assert frame.index.tolist() == [0.0, 1.0]
    routes = [ra.without(network, range(len(network))), ra.intact(network)]
    scores = ra.evaluate(network, routes, data)
    for row, factor in enumerate((0.0, 1.0)):
        for name in ("error", "loss", "agreement", "kl"):
            near = pytest.approx(scores.mean(name)[row], abs=0.0 if factor else 1e-6)
            assert frame.loc[factor, name] == near
    assert frame.loc[1.0, ["agreement", "kl"]].tolist() == [1, 0]


def test_without_labels_there_is_agreement(network: ResidualNetwork) -> None:
    frame = ra.scaling(network, tiny_data(labelled=False), factors=[0.5, 1])
    assert frame[["error", "error_low", "loss", "loss_high"]].isna().all(axis=None)
    assert frame["agreement"].iloc[1] == 1
    assert np.isfinite(frame["kl"]).all()


def test_what_it_refuses(network: ResidualNetwork, data: Dataset) -> None:
    with pytest.raises(ra.ResanalysisError, match=r"multiplied by finite numbers, got \[\]"):
        ra.scaling(network, data, factors=[])
    with pytest.raises(ra.ResanalysisError, match=r"multiplied by finite numbers, got \[1, inf\]"):
        ra.scaling(network, data, factors=[1, float("inf")])
    plain = ra.unravel(Plain(), data.batch(0, 2)[0], plain=True)
    with pytest.raises(ra.ResanalysisError, match="no unit of Plain has a skip"):
        ra.scaling(plain, data)
