"""Orders of the output and their loss, against their sums written out; shares beside the exact gradient's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

import resanalysis as ra
from resanalysis.datasets import Dataset
from resanalysis.experiments.scaling_page import scaling_page
from resanalysis.network import ResidualNetwork
from resanalysis.path_gradients import freeze
from resanalysis.path_gradients.orders import output_orders
from resanalysis.path_gradients.tape import record
from tests.experiments.one_by_one import Kept, Plain, tiny_data, tiny_network


@pytest.fixture(scope="module")
def data() -> Dataset:
    return tiny_data(12)


@pytest.fixture(scope="module")
def network(data: Dataset) -> ResidualNetwork:
    return tiny_network(data)


@pytest.fixture(scope="module")
def frame(network: ResidualNetwork, data: Dataset) -> pd.DataFrame:
    return ra.scaling_orders(network, data, batch_size=5)


def test_every_order_is_scored_as_its_sum(
    frame: pd.DataFrame, network: ResidualNetwork, data: Dataset
) -> None:
    (x, y), ready = data.batch(0, 12), freeze(network)
    assert y is not None
    parts = output_orders(
        ready, record(ready, x, y, at="first-unit"), x
    )  # against all paths elsewhere
    z = parts.sum(0) - parts.sum(0).mean(1, keepdim=True)
    for row in frame.to_dict("records"):
        logits = parts[: row["order"] + 1].sum(0)
        assert row["loss"] == pytest.approx(float(F.cross_entropy(logits, y)), abs=1e-5)
        assert row["error"] == pytest.approx(float((logits.argmax(1) != y).double().mean()))
        same = (logits.argmax(1) == parts.sum(0).argmax(1)).double().mean()
        assert row["agreement"] == pytest.approx(float(same))
        shares = (parts[row["order"]] * z).sum(1) / (z * z).sum(1)
        assert row["output_share"] == pytest.approx(float(shares.mean()), abs=1e-5)
        for name in ("loss", "error", "output_share", "gradient_share"):
            assert row[f"{name}_low"] <= row[name] + 1e-9
            assert row[name] <= row[f"{name}_high"] + 1e-9


def test_all_orders_together_are_the_network(
    frame: pd.DataFrame, network: ResidualNetwork, data: Dataset
) -> None:
    intact = ra.lesion(network, data).iloc[0]
    last = frame.iloc[-1]
    assert frame["order"].tolist() == list(range(7))
    assert last["loss"] == pytest.approx(intact["loss"], rel=1e-5)
    assert (last["error"], last["agreement"]) == (intact["error"], 1)
    for name in ("output_share", "gradient_share"):
        assert frame[name].sum() == pytest.approx(1, abs=1e-5)


def test_gradient_shares_are_those_of_gradients(
    frame: pd.DataFrame, network: ResidualNetwork, data: Dataset
) -> None:
    exact = ra.gradients(network, data, method=("exact",), at="first-unit", images=None)
    np.testing.assert_allclose(frame["gradient_share"], exact["signed_share"], atol=1e-5)


def test_the_page_has_orders_where_they_are_defined(
    frame: pd.DataFrame, network: ResidualNetwork, data: Dataset
) -> None:
    kept = Kept()
    how: dict[str, Any] = {"factors": [0.0, 1.0], "store": kept, "batch_size": 5}
    tables = scaling_page(network, data, **how)
    assert list(tables) == ["scaling", "scaling_orders"]
    pd.testing.assert_frame_equal(tables["scaling_orders"], frame)
    puts = kept.puts
    again = scaling_page(network, data, **how)
    pd.testing.assert_frame_equal(again["scaling_orders"], frame)
    assert kept.puts == puts
    assert list(scaling_page(network, data, factors=[1.0], images=0)) == ["scaling"]
    assert list(scaling_page(network, tiny_data(labelled=False), factors=[1.0])) == ["scaling"]
    few = ra.scaling_orders(network, data, images=4)
    assert few.attrs["n"] == 4


def test_what_it_refuses(network: ResidualNetwork, data: Dataset) -> None:
    with pytest.raises(
        ra.ResanalysisError, match=r"orders are told by their loss, and .* no labels"
    ):
        ra.scaling_orders(network, tiny_data(labelled=False))
    plain = ra.unravel(Plain(), data.batch(0, 2)[0], plain=True)
    with pytest.raises(ra.ResanalysisError, match="no unit with a skip"):
        ra.scaling_orders(plain, data)
    assert torch.is_grad_enabled()
