"""Orders against loops over whole passes; what moved, what is held, and what the means are over."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from torch import Tensor

import resanalysis as ra
from resanalysis.datasets import Dataset
from resanalysis.network import ResidualNetwork
from tests.conftest import cifar
from tests.experiments.test_lesion import wrong
from tests.reference import post_activation_pass

CONTRACT = ["draw", "swaps", "kendall_tau", "order", "error", "loss", "agreement"]
STAGE = [0] * 4 + [1] * 4 + [2] * 4


@pytest.fixture(scope="module")
def network(data: Dataset) -> ResidualNetwork:
    return ra.unravel(cifar(26), data.batch(0, 2)[0])


@pytest.fixture(scope="module")
def frame(network: ResidualNetwork, data: Dataset) -> pd.DataFrame:
    return ra.reorder(network, data, draws=20, seed=2)


def orders_of(frame: pd.DataFrame) -> list[list[int]]:
    return [[int(unit) for unit in text.split()] for text in frame["order"]]


def test_every_row_equals_a_loop(frame: pd.DataFrame, data: Dataset) -> None:
    assert list(frame.columns)[:7] == CONTRACT
    assert frame.iloc[0][["swaps", "kendall_tau", "agreement"]].tolist() == [0, 1, 1]
    x, y = data.batch(0, 60)
    assert isinstance(x, Tensor)
    assert y is not None
    for order, row in zip(orders_of(frame), frame.to_dict("records"), strict=True):
        assert [STAGE[unit] for unit in order] == STAGE
        assert (order[4], order[8]) == (4, 8)
        assert row["kendall_tau"] == pytest.approx(stats.kendalltau(range(12), order).statistic)
        passed = post_activation_pass(cifar(26), x, order)
        assert row["error"] == pytest.approx(wrong(passed, y).mean())
        assert row["first_moved"] == (order[0] != 0)
        assert row["largest_displacement"] == max(abs(p - u) for p, u in enumerate(order))
        for stage in range(3):
            here = order[4 * stage : 4 * stage + 4]
            tau = stats.kendalltau(range(4), here).statistic
            assert row[f"tau_stage{stage}"] == pytest.approx(tau)
    assert frame["order"].is_unique


def test_a_seed_gives_the_same_table(
    frame: pd.DataFrame, network: ResidualNetwork, data: Dataset
) -> None:
    pd.testing.assert_frame_equal(frame, ra.reorder(network, data, draws=20, seed=2))


def test_means_are_over_the_orders_of_a_bin_that_move_alike(frame: pd.DataFrame) -> None:
    moved = frame.iloc[1:]
    for (upper, _), rows in moved.groupby(["tau_bin", "first_moved"]):
        assert (
            (rows["kendall_tau"] <= upper + 1e-9) & (rows["kendall_tau"] > upper - 0.0500001)
        ).all()
        assert (rows["distinct"] == len(rows)).all()
        assert rows["mean_error"].to_numpy() == pytest.approx(rows["error"].mean())
    assert np.isnan(frame["mean_error"].iloc[0])


def test_published_swaps_and_held_units(network: ResidualNetwork, data: Dataset) -> None:
    found = ra.reorder(network, data, protocol="veit", swaps=(1, 3), draws=5, hold=[0, 11], seed=1)
    assert found["swaps"].value_counts().to_dict() == {0: 1, 1: 5, 3: 5}
    assert found["order"].is_unique
    assert not found["first_moved"].any()
    for order, swaps in zip(orders_of(found), found["swaps"], strict=True):
        assert (order[0], order[11]) == (0, 11)
        assert sum(p != u for p, u in enumerate(order)) <= 2 * swaps
        assert [STAGE[unit] for unit in order] == STAGE
    assert found.attrs["swaps"] == [1, 3]
    assert found.attrs["hold"] == [0, 11]


def test_few_orders_are_listed(data: Dataset) -> None:
    network = ra.unravel(cifar(14), data.batch(0, 2)[0])  # 0 and 1 can change places, no others
    found = ra.reorder(network, data, draws=9)
    assert found["order"].tolist() == ["0 1 2 3 4 5", "1 0 2 3 4 5"]
    assert found["listed"].all()
    assert found["mean_error_se_draws"].iloc[1] == 0
    wide = ra.unravel(cifar(20), data.batch(0, 2)[0])  # 3 + 2 + 2 units
    every = ra.reorder(wide, data, draws=50)
    assert len(every) == math.factorial(3) * 2 * 2
    assert every["order"].is_unique


def test_what_makes_no_sense_is_said(network: ResidualNetwork, data: Dataset) -> None:
    with pytest.raises(
        ValueError, match="no two of the 3 units of CifarResNet have the same shape and"
    ):
        ra.reorder(ra.unravel(cifar(8), data.batch(0, 2)[0]), data)
    with pytest.raises(ValueError, match="the network has units 0 to 11, and is to hold 12"):
        ra.reorder(network, data, hold=[12])
    with pytest.raises(ValueError, match="but for the units held, 0, 1"):
        ra.reorder(ra.unravel(cifar(14), data.batch(0, 2)[0]), data, hold=[0, 1])
    with pytest.raises(ValueError, match="the protocol even chooses the numbers of swaps itself"):
        ra.reorder(network, data, swaps=(1,))
    with pytest.raises(ValueError, match="no protocol 'odd'; there are even and veit"):
        ra.reorder(network, data, protocol="odd")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="draws must be at least 1, got 0"):
        ra.reorder(network, data, draws=0)
