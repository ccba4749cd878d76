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
def network(data: Dataset) -> ResidualNetwork:
    return ra.unravel(cifar(14), data.batch(0, 2)[0])


def wrong(logits: Tensor, labels: Tensor) -> np.ndarray:
    return (logits.argmax(1) != labels).numpy()


def test_table_equals_a_loop_with_hooks(network: ResidualNetwork, data: Dataset) -> None:
    frame = ra.lesion(network, data)
    assert list(frame.columns) == [
        *CONTRACT, "loss_low", "loss_high", "agreement_low", "agreement_high", "kl_low", "kl_high",
        "chance_error",
    ]  # fmt: skip
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
    sizes = frame.groupby(["transitions_eligible", "removed"]).size()
    # Four units can be deleted one at a time in four ways, two in six, four in one.
    assert sizes.to_dict() == {(False, 1): 4, (False, 2): 5, (False, 4): 1,
                               (True, 1): 5, (True, 2): 5, (True, 4): 5}  # fmt: skip
    for _, rows in frame[~frame["listed"]].groupby("draw"):
        sets = [set(map(int, units.split())) for units in rows.sort_values("removed")["units"]]
        assert [len(s) for s in sets] == rows["removed"].sort_values().tolist()
        assert all(a < b for a, b in itertools.pairwise(sets))
    without_transitions = frame[~frame["transitions_eligible"]]["units"]
    assert not any({"2", "4"} & set(units.split()) for units in without_transitions)
    assert any({"2", "4"} & set(u.split()) for u in frame[frame["transitions_eligible"]]["units"])


def test_no_network_is_counted_twice(network: ResidualNetwork, data: Dataset) -> None:
    frame = ra.lesion_many(network, data, removed=range(1, 7), draws=10, seed=2)
    for k, rows in frame.groupby("removed"):
        assert rows["units"].is_unique
        assert (rows["distinct"] == len(rows)).all()
        assert len(rows) == min(10, {1: 6, 2: 15, 3: 20, 4: 15, 5: 6, 6: 1}[int(k)])  # type: ignore[call-overload]
        assert rows["listed"].all() == (k in (1, 5, 6))


def test_means_are_over_draws_and_examples(network: ResidualNetwork, data: Dataset) -> None:
    frame = ra.lesion_many(network, data, removed=(1, 3), draws=8, seed=0)
    alone = ra.lesion(network, data).set_index("unit")
    for k, rows in frame.groupby("removed"):
        assert rows["mean_error"].nunique() == 1
        assert rows["mean_error"].iloc[0] == pytest.approx(rows["error"].mean())
        assert rows["mean_loss_low"].iloc[0] >= 0
        low, high = rows["mean_error_low"].iloc[0], rows["mean_error_high"].iloc[0]
        assert 0 <= low <= rows["mean_error"].iloc[0] <= high <= 1
        spread = rows["error"].std() / np.sqrt(8) if k == 3 else 0.0  # every unit alone was listed
        assert rows["mean_error_se_draws"].iloc[0] == pytest.approx(spread)
    one = frame[frame["removed"] == 1].set_index("units")["error"]
    assert {int(unit): error for unit, error in one.items()} == pytest.approx(
        alone["error"].drop(-1).to_dict()
    )


def test_the_constant_answers_error(network: ResidualNetwork, data: Dataset) -> None:
    assert data.labels is not None
    expected = 1 - max(np.mean(data.labels == label) for label in range(5))
    for frame in (ra.lesion(network, data), ra.lesion_many(network, data, removed=(1,), draws=2)):
        assert frame["chance_error"].to_numpy() == pytest.approx(expected)


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
    with pytest.raises(ValueError, match=r"delete 7 units together: .* has 6, of which 6 can be"):
        ra.lesion_many(network, data, removed=(7,), draws=2)


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


def test_intervals_stay_in_range(network: ResidualNetwork, data: Dataset) -> None:
    few = data.limited(7)
    for n, examples in ((7, few), (60, data)):
        frame = ra.lesion(network, examples)
        assert len(examples) == n
        assert (frame[["loss_low", "kl_low", "agreement_low"]] >= 0).all(axis=None)
        assert (frame["agreement_high"] <= 1).all()
        for name in ("loss", "agreement", "kl"):
            assert (frame[f"{name}_low"] <= frame[name] + 1e-12).all()
            assert (frame[name] <= frame[f"{name}_high"] + 1e-12).all()
    alone = ra.lesion(network, data.limited(1))
    assert alone[["loss_low", "loss_high", "kl_low"]].isna().all(axis=None)


def test_the_interval_of_a_fraction_stays_a_fraction(network: ResidualNetwork) -> None:
    from resanalysis.experiments.lesion import _numbers
    from resanalysis.experiments.lesion_table import lesion_table
    from resanalysis.routes.evaluator import Scores

    error = np.array([[1, 1, 1, 0.9], [0, 0, 0, 0.1]], dtype=np.float32)
    scores = Scores(dict.fromkeys(("error", "loss", "agreement", "kl"), error))
    table = lesion_table(network, _numbers(scores, 0), {-1: 0, 0: 1})
    high, low = table.iloc[:2].to_dict("records")
    assert stats.t.interval(0.95, 3, error[0].mean(), stats.sem(error[0]))[1] > 1
    assert 0.9 <= high["error_low"] <= high["error_high"] <= 1
    assert 0 <= low["error_low"] <= low["error_high"] == pytest.approx(0.1, abs=0.05)
