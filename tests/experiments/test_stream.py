"""The stream table against formulas, hooks and autograd on the model's own modules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import resanalysis as ra
from resanalysis.datasets import Dataset
from resanalysis.experiments.stream_images import MEASURED
from resanalysis.experiments.stream_page import stream_page
from resanalysis.network import ResidualNetwork
from resanalysis.run.store import PartialStore
from resanalysis.statistics.bootstrap import mean_band
from resanalysis.statistics.intervals import wilson
from tests.conftest import Batches, cifar, settle


@pytest.fixture(scope="module")
def data() -> Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (17, 3, 16, 16), dtype=np.uint8)
    return ra.image_dataset(images, rng.integers(0, 5, 17), mean=[0.5] * 3, std=[0.25] * 3)


@pytest.fixture(scope="module")
def network(data: Dataset) -> ResidualNetwork:
    return ra.unravel(cifar(20), data.batch(0, 2)[0])


@pytest.fixture(scope="module")
def table(network: ResidualNetwork, data: Dataset) -> pd.DataFrame:
    return ra.stream(network, data)


def by_hand(model: nn.Module, x: Tensor, labels: Tensor) -> list[dict[str, float]]:
    """Every measure of a post-activation CIFAR ResNet, one image at a time."""
    blocks = [block for stage in ("layer1", "layer2", "layer3") for block in getattr(model, stage)]
    collected: list[list[dict[str, float]]] = [[] for _ in blocks]
    for i in range(len(x)):
        h = torch.relu(model.bn1(model.conv1(x[i : i + 1]))).detach().requires_grad_()  # type: ignore[operator]
        seen = []
        for block in blocks:
            h.retain_grad()
            branch = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(h)))))
            skip = block.shortcut(h)
            left = torch.relu(skip + branch)
            seen.append((h, skip, branch, left))
            h = left
        logits = model.linear(h.mean((2, 3)))  # type: ignore[operator]
        F.cross_entropy(logits.double(), labels[i : i + 1]).backward()
        for unit, (before, skip, branch, left) in enumerate(seen):
            row = {
                "branch_norm": float(branch.detach().norm()),
                "skip_norm": float(skip.detach().norm()),
                "ratio": float((branch.norm() / skip.norm()).detach()),
                "cosine": cos(branch, skip),
                "influence": 1 - cos(before if before.shape == left.shape else skip, left),
            }
            if before.shape == branch.shape:
                assert before.grad is not None
                row["gradient_cosine"] = cos(branch, -before.grad)
            if left.shape == h.shape:
                early = model.linear(left.mean((2, 3)))  # type: ignore[operator]
                row["exit_error"] = float(early.argmax() != labels[i])
                row["exit_agreement"] = float(early.argmax() == logits.argmax())
                row["exit_loss"] = float(F.cross_entropy(early, labels[i : i + 1]).detach())
            collected[unit].append(row)
    return [{key: float(np.mean([r[key] for r in rows])) for key in rows[0]} for rows in collected]


def cos(a: Tensor, b: Tensor) -> float:
    one, two = a.detach().double().flatten(), b.detach().double().flatten()
    return float(one @ two / one.norm() / two.norm())


def test_every_measure_by_hand(table: pd.DataFrame, data: Dataset) -> None:
    assert list(table.columns)[:7] == [
        "unit", "name", "branch_norm", "skip_norm", "ratio", "cosine", "influence",
    ]  # fmt: skip
    x, labels = data.batch(0, len(data))
    assert isinstance(x, Tensor)
    assert labels is not None
    expected = by_hand(cifar(20), x, labels)
    assert len(table) == len(expected) == 9
    for row, wanted in zip(table.to_dict("records"), expected, strict=True):
        for name in MEASURED:
            if name in wanted:
                assert row[name] == pytest.approx(wanted[name], rel=2e-4, abs=2e-6), name
            else:
                assert np.isnan(row[name]), name
    assert np.isnan(table["gate"]).all()
    assert table["bn_scale"].notna().all()


def test_early_exit_after_the_last_unit_is_the_model(
    table: pd.DataFrame, network: ResidualNetwork, data: Dataset
) -> None:
    intact = ra.lesion(network, data).iloc[0]
    last = table.iloc[-1]
    assert last["exit_error"] == intact["error"]
    assert last["exit_loss"] == pytest.approx(intact["loss"], rel=1e-5)
    assert last["exit_agreement"] == 1.0
    assert table["exit_error"].notna().tolist() == [False] * 6 + [True] * 3
    wrong = round(last["exit_error"] * len(data))
    assert (last["exit_error_low"], last["exit_error_high"]) == pytest.approx(
        wilson(wrong, len(data))
    )


def test_batches_change_no_number(
    table: pd.DataFrame, network: ResidualNetwork, data: Dataset
) -> None:
    other = ra.stream(network, data, batch_size=4)
    for name in MEASURED:
        np.testing.assert_allclose(other[name], table[name], rtol=1e-4, atol=1e-6)


def test_intervals_are_bootstraps_over_images() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(3, 1, (2, 60))
    values[1, :30] = np.nan  # measured on half of the images
    mean, low, high = mean_band(values, seed=0)
    for row in range(2):
        known = values[row][np.isfinite(values[row])]
        assert mean[row] == pytest.approx(known.mean())
        half = 1.96 * known.std() / np.sqrt(len(known))
        assert low[row] == pytest.approx(known.mean() - half, abs=0.25 * half)
        assert high[row] == pytest.approx(known.mean() + half, abs=0.25 * half)


def test_without_labels_there_is_no_gradient(network: ResidualNetwork, data: Dataset) -> None:
    x, _ = data.batch(0, 6)
    assert isinstance(x, Tensor)
    frame = ra.stream(network, Batches(x, None))
    assert frame["gradient_cosine"].isna().all()
    assert frame["exit_error"].isna().all()
    assert frame["exit_agreement"].iloc[-1] == 1.0
    assert frame["ratio"].notna().all()


def test_it_goes_on_where_it_was_interrupted(
    network: ResidualNetwork, data: Dataset, tmp_path: Path
) -> None:
    store = PartialStore(tmp_path)
    first = ra.stream(network, data, batch_size=6, store=store)
    assert len(store) == 3

    class Refusing(Batches):
        def batch(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
            raise AssertionError("computed again")

    x, labels = data.batch(0, len(data))
    assert isinstance(x, Tensor)
    again = ra.stream(network, Refusing(x, labels), batch_size=6, store=store)
    pd.testing.assert_frame_equal(first, again)


def test_a_branch_that_is_not_finite_is_named(data: Dataset) -> None:
    model = cifar(8)
    network = ra.unravel(model, data.batch(0, 2)[0])
    with torch.no_grad():
        model.layer2[0].conv2.weight[0, 0, 0, 0] = float("nan")  # type: ignore[index]
    with pytest.raises(ValueError, match=r"not finite"):
        ra.stream(network, data)
    with pytest.raises(ValueError, match="the data has no examples"):
        ra.stream(network, Batches(torch.empty(0, 3, 16, 16), None))


def test_tokens_that_are_masked_do_not_count() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        vocab_size=50,
    )
    model = settle(transformers.BertForSequenceClassification(config))
    ids = torch.randint(1, 50, (4, 7), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[:, 5:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}

    class Texts:
        def __len__(self) -> int:
            return 4

        def batch(self, start: int, stop: int) -> tuple[dict[str, Tensor], None]:
            return {name: value[start:stop] for name, value in inputs.items()}, None

    network = ra.unravel(model, inputs)
    found = ra.stream(network, Texts())  # type: ignore[arg-type]
    caught: list[Tensor] = []
    attention = model.bert.encoder.layer[0].attention  # type: ignore[union-attr, index]
    handle = attention.output.dense.register_forward_hook(lambda _m, _i, out: caught.append(out))
    with torch.no_grad():
        model(**inputs)
    handle.remove()
    expected = caught[0][:, :5].norm(dim=-1).mean()
    assert found["branch_norm"].iloc[0] == pytest.approx(float(expected), rel=1e-4)


def test_the_page_has_spans_and_damage(network: ResidualNetwork, data: Dataset) -> None:
    tables = stream_page(network, data, lesion=ra.lesion(network, data))
    assert list(tables) == ["stream", "stream_spans", "stream_damage"]
    predicts = tables["stream"].attrs["predicts"]
    assert {row["method"] for row in predicts} == {"kendall", "spearman"}
    assert "stream_damage" not in stream_page(network, data, damage=False)
    alone = stream_page(network, data)
    assert list(alone) == ["stream", "stream_lesion", "stream_spans", "stream_damage"]


def test_images_are_what_the_table_averages(
    network: ResidualNetwork, data: Dataset, table: pd.DataFrame, tmp_path: Path
) -> None:
    store = PartialStore(tmp_path)
    ra.stream(network, data, batch_size=6, store=store)
    images = ra.stream_images(network, data, batch_size=6, store=store)
    assert len(store) == 3  # nothing was measured twice
    assert len(images) == 17 * 9
    assert list(images.columns[:4]) == ["image", "unit", "name", "branch_norm"]
    assert "gate" not in images
    means = images.groupby("unit")[["ratio", "influence", "gradient_cosine", "exit_error"]].mean()
    for name in means:
        np.testing.assert_allclose(means[name], table[name], rtol=1e-4, atol=1e-6)
    x, _ = data.batch(4, 5)
    assert isinstance(x, Tensor)
    alone = ra.stream(network, Batches(x, None))["ratio"]
    own = images.loc[images["image"] == 4, "ratio"]
    np.testing.assert_allclose(own, alone, rtol=1e-4)
