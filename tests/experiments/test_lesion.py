"""Lesion tables against loops over whole passes and statistics computed from scratch."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import resanalysis as ra
from resanalysis.datasets import Dataset
from resanalysis.network import ResidualNetwork
from resanalysis.statistics.intervals import wilson
from tests.conftest import cifar
from tests.reference import post_activation_pass, with_zeroed

CONTRACT = [
    "unit", "name", "stage", "transition", "error", "error_low", "error_high", "delta", "delta_low",
    "delta_high", "p_value", "p_holm", "loss", "agreement", "kl",
]  # fmt: skip


@pytest.fixture(scope="module")
def data() -> Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 3, 16, 16), dtype=np.uint8)
    return ra.image_dataset(images, rng.integers(0, 5, 60), mean=[0.5] * 3, std=[0.25] * 3)


@pytest.fixture(scope="module")
def network(data: Dataset) -> ResidualNetwork:
    return ra.unravel(cifar(14), data.batch(0, 2)[0])


def wrong(logits: Tensor, labels: Tensor) -> np.ndarray:
    return (logits.argmax(1) != labels).numpy()


def test_table_equals_a_loop_with_hooks(network: ResidualNetwork, data: Dataset) -> None:
    frame = ra.lesion(network, data)
    assert list(frame.columns) == [*CONTRACT, "loss_low", "loss_high"]
    assert frame["unit"].tolist() == [-1, 0, 1, 2, 3, 4, 5]
    assert frame["name"].tolist()[:2] == ["intact", "layer1.0"]
    model = cifar(14)
    x, y = data.batch(0, 60)
    assert isinstance(x, Tensor)
    assert y is not None
    with torch.no_grad():
        base = wrong(model(x), y)
    blocks = [block for stage in (model.layer1, model.layer2, model.layer3) for block in stage]
    raw = []
    for unit, row in frame.iloc[1:].set_index("unit").iterrows():
        mistakes = wrong(with_zeroed(model, [blocks[int(unit)].bn2], x), y)  # type: ignore[call-overload]
        assert row["error"] == mistakes.mean()
        assert row["delta"] == pytest.approx(mistakes.mean() - base.mean())
        assert row["delta_low"] <= row["delta"] <= row["delta_high"]
        gained, lost = int((mistakes & ~base).sum()), int((~mistakes & base).sum())
        p = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
        assert row["p_value"] == pytest.approx(p)
        raw.append(row["p_value"])
    assert (frame["p_holm"].to_numpy()[1:] >= np.array(raw)).all()
    low, high = wilson(base.sum(), 60)
    assert frame.loc[0, ["error_low", "error_high"]].tolist() == pytest.approx([low, high])


def test_intact_row_changes_nothing(network: ResidualNetwork, data: Dataset) -> None:
    first = ra.lesion(network, data).iloc[0]
    assert (first["delta"], first["agreement"], first["p_value"], first["p_holm"]) == (0, 1, 1, 1)
    assert first["kl"] == pytest.approx(0, abs=1e-6)


def test_cutting_the_skip_is_the_control(network: ResidualNetwork, data: Dataset) -> None:
    frame = ra.lesion(network, data, part="skip").set_index("unit")
    model = cifar(14)
    x, y = data.batch(0, 60)
    assert isinstance(x, Tensor)
    assert y is not None
    for unit in range(6):
        logits = post_activation_pass(
            model,
            x,
            range(6),
            lambda u, skip, branch, cut=unit: branch if u == cut else skip + branch,
        )
        assert frame.loc[unit, "error"] == wrong(logits, y).mean()


def test_a_branch_that_is_zero_can_go(data: Dataset) -> None:
    model = cifar(14)
    with torch.no_grad():
        model.layer2[1].bn2.weight.zero_()  # type: ignore[index, union-attr]
        model.layer2[1].bn2.bias.zero_()  # type: ignore[index, union-attr]
    frame = ra.lesion(ra.unravel(model, data.batch(0, 2)[0]), data).set_index("unit")
    assert frame.loc[3, "delta"] == 0
    assert frame.loc[3, "kl"] == pytest.approx(0, abs=1e-6)
    assert frame.loc[3, "loss"] == pytest.approx(frame.loc[-1, "loss"])


def test_plain_layers_that_cannot_go_are_nan(data: Dataset) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5),
    )  # fmt: skip
    frame = ra.lesion(ra.unravel(model, data.batch(0, 2)[0], plain=True), data)
    assert frame["error"].isna().tolist() == [False, True, False]
    x, y = data.batch(0, 60)
    assert isinstance(x, Tensor)
    assert y is not None
    with torch.no_grad():
        logits = model[4:](torch.relu(model[0](x)))
    assert frame["error"].iloc[2] == wrong(logits, y).mean()
    with pytest.raises(ValueError, match="no unit of Sequential has a skip that can be taken away"):
        ra.lesion(ra.unravel(model, data.batch(0, 2)[0], plain=True), data, part="skip")


def test_deletions_of_one_draw_are_nested(network: ResidualNetwork, data: Dataset) -> None:
    frame = ra.lesion_many(network, data, removed=(1, 2, 4, 9), draws=5, transitions="both", seed=1)
    assert frame.attrs["left_out"] == [9]
    assert list(frame.columns)[:6] == ["removed", "draw", "units", "error", "loss", "agreement"]
    assert frame.groupby(["removed", "transitions_eligible"]).size().tolist() == [5] * 6
    for _, rows in frame.groupby("draw"):
        sets = [set(map(int, units.split())) for units in rows.sort_values("removed")["units"]]
        assert [len(s) for s in sets] == rows["removed"].sort_values().tolist()
        assert all(a < b for a, b in itertools.pairwise(sets))
    without_transitions = frame[~frame["transitions_eligible"]]["units"]
    assert not any({"2", "4"} & set(units.split()) for units in without_transitions)
    assert any({"2", "4"} & set(u.split()) for u in frame[frame["transitions_eligible"]]["units"])


def test_many_lesions_equal_a_loop_and_are_seeded(network: ResidualNetwork, data: Dataset) -> None:
    frame = ra.lesion_many(network, data, removed=(2, 3), draws=3, seed=4)
    assert len(frame) == 6
    pd.testing.assert_frame_equal(
        frame, ra.lesion_many(network, data, removed=(2, 3), draws=3, seed=4)
    )
    other = ra.lesion_many(network, data, removed=(2, 3), draws=3, seed=5)
    assert frame["units"].tolist() != other["units"].tolist()
    model = cifar(14)
    x, y = data.batch(0, 60)
    assert isinstance(x, Tensor)
    assert y is not None
    for units, error in zip(frame["units"], frame["error"], strict=True):
        gone = set(map(int, units.split()))
        logits = post_activation_pass(
            model,
            x,
            range(6),
            lambda u, skip, branch, gone=gone: skip if u in gone else skip + branch,
        )
        assert error == pytest.approx(wrong(logits, y).mean())
    with pytest.raises(ValueError, match=r"none of \[7\] units can be deleted from the 6 of"):
        ra.lesion_many(network, data, removed=(7,), draws=2)


def test_reorder_keeps_stages_and_equals_a_loop(network: ResidualNetwork, data: Dataset) -> None:
    frame = ra.reorder(ra.unravel(cifar(26), data.batch(0, 2)[0]), data, draws=20, seed=2)
    assert list(frame.columns) == [
        "draw",
        "swaps",
        "kendall_tau",
        "order",
        "error",
        "loss",
        "agreement",
    ]
    assert frame.iloc[0][["swaps", "kendall_tau", "agreement"]].tolist() == [0, 1, 1]
    model = cifar(26)
    x, y = data.batch(0, 60)
    assert isinstance(x, Tensor)
    assert y is not None
    stage = [0] * 4 + [1] * 4 + [2] * 4
    for tau, text, error in zip(frame["kendall_tau"], frame["order"], frame["error"], strict=True):
        order = [int(unit) for unit in text.split()]
        assert [stage[unit] for unit in order] == stage
        assert (order[4], order[8]) == (4, 8)
        assert tau == pytest.approx(stats.kendalltau(range(12), order).statistic)
        assert error == pytest.approx(wrong(post_activation_pass(model, x, order), y).mean())
    assert frame["order"].is_unique
    again = ra.reorder(ra.unravel(cifar(26), data.batch(0, 2)[0]), data, draws=20, seed=2)
    pd.testing.assert_frame_equal(frame, again)


def test_orders_cover_tau_evenly() -> None:
    from resanalysis.experiments.reorder import TAU_BIN, _evenly_by_tau
    from resanalysis.routes.route import kendall_tau

    groups = [tuple(range(18)), tuple(range(19, 36)), tuple(range(37, 54))]
    chosen = _evenly_by_tau(54, groups, 300, np.random.default_rng(0))
    assert len(chosen) == 300
    tau = np.array([kendall_tau(order) for _, order in chosen])
    counts = np.bincount(((1 - tau) / TAU_BIN).astype(int))
    # At least 30 draws in every bin a random shuffle (mean tau 0.703) comes by.
    assert (counts[:6] >= 30).all()


def test_nothing_to_reorder(data: Dataset) -> None:
    network = ra.unravel(cifar(8), data.batch(0, 2)[0])
    with pytest.raises(
        ValueError, match="no two of the 3 units of CifarResNet have the same shape and"
    ):
        ra.reorder(network, data)


def test_inspect_table(network: ResidualNetwork) -> None:
    frame = ra.inspect(network)
    assert list(frame.columns)[:9] == [
        "unit", "name", "stage", "transition", "skip", "join", "in_shape", "out_shape", "parameters",
    ]  # fmt: skip
    assert frame["skip"].tolist() == ["identity", "identity", "pad", "identity", "pad", "identity"]
    assert set(frame["join"]) == {"relu"}
    assert frame.loc[2, ["in_shape", "out_shape"]].tolist() == ["4×16×16", "8×8×8"]


def test_without_labels_the_error_is_unknown(network: ResidualNetwork) -> None:
    images = np.random.default_rng(1).integers(0, 256, (6, 3, 16, 16), dtype=np.uint8)
    frame = ra.lesion(network, ra.image_dataset(images, None, mean=[0.5] * 3, std=[0.25] * 3))
    assert frame[["error", "error_low", "error_high", "delta", "loss"]].isna().all(axis=None)
    assert frame["kl"].notna().all()


def test_the_interval_of_a_fraction_stays_a_fraction() -> None:
    from resanalysis.experiments.lesion import _row
    from resanalysis.routes.evaluator import Scores

    error = np.array([[1, 1, 1, 0.9], [0, 0, 0, 0.1]], dtype=np.float32)
    scores = Scores(dict.fromkeys(("error", "loss", "agreement", "kl"), error))
    high, low = _row(scores, 0, False, {}), _row(scores, 1, False, {})
    assert stats.t.interval(0.95, 3, error[0].mean(), stats.sem(error[0]))[1] > 1
    assert (high["error_high"], low["error_low"]) == (1, 0)
    assert high["error_low"] == pytest.approx(
        stats.t.interval(0.95, 3, error[0].mean(), stats.sem(error[0]))[0], rel=1e-5
    )
