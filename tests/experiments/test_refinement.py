"""Mean and spread of the error against the streams written out, and where they must be 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import resanalysis as ra
from resanalysis.datasets import Dataset
from resanalysis.errors import ResanalysisError
from resanalysis.experiments.refinement_page import refinement_page
from resanalysis.models.cifar_resnet import CifarResNet
from resanalysis.statistics.intervals import wilson
from tests.conftest import cifar
from tests.experiments.one_by_one import Kept, tiny_data, tiny_network
from tests.experiments.test_effects import Chain, Masked, Nonlinear, Rows, blocks, factor

CONTRACT = ["unit", "name", "stage", "mean", "mean_low", "mean_high", "spread"]


def centred(data: Dataset) -> CifarResNet:
    """A network whose answers differ between images."""
    model = cifar(14)
    with torch.no_grad():
        model.linear.bias -= model(data.batch(0, len(data))[0]).mean(0)
    return model


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
    assert list(frame.columns)[:7] == CONTRACT
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


@pytest.fixture(scope="module")
def many() -> Dataset:
    return tiny_data(80)


def test_descent_is_the_angle_with_the_gradient_of_each_example(many: Dataset) -> None:
    frame = ra.refinement(tiny_network(many), many)
    model, (x, y) = cifar(14), many.batch(0, 80)
    assert isinstance(x, Tensor)
    assert y is not None
    cosines: list[list[float]] = [[] for _ in range(6)]
    for image, label in zip(x.split(1), y.split(1), strict=True):
        h = torch.relu(model.bn1(model.conv1(image)))
        streams = [h]
        for block in blocks(model):
            h = block(h)
            streams.append(h)
        loss = F.cross_entropy(model.linear(h.mean((2, 3))).double(), label)
        gradients = torch.autograd.grad(loss, streams[:-1])
        for unit, gradient in enumerate(gradients):
            if streams[unit].shape == streams[unit + 1].shape:
                move = (streams[unit + 1] - streams[unit]).double().flatten()
                down = -gradient.double().flatten()
                cosines[unit].append(float(move @ down / move.norm() / down.norm()))
    for row, values in zip(frame.to_dict("records"), cosines, strict=True):
        if not values:
            assert np.isnan([row["descent"], row["descent_share"], row["descent_chance"]]).all()
            continue
        assert row["descent"] == pytest.approx(np.mean(values), abs=1e-5)
        assert row["descent_share"] == pytest.approx(np.mean(np.square(values)), abs=1e-5)
        assert row["descent_low"] <= row["descent"] <= row["descent_high"]
        assert row["descent_chance"] == 1 / streams[row["unit"]].numel()


def test_where_nothing_follows_the_addition_descent_is_that_of_stream(many: Dataset) -> None:
    network = ra.unravel(cifar(14, version=2), many.batch(0, 2)[0])
    found, of_branch = ra.refinement(network, many), ra.stream(network, many)
    np.testing.assert_allclose(found["descent"], of_branch["gradient_cosine"], atol=1e-5)


def lenses_by_numpy(many: Dataset, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers after each unit and of the model (6, M), (M,), and which examples these are."""
    x, _ = many.batch(0, len(many))
    assert isinstance(x, Tensor)
    streams = streams_written_out(x)
    with torch.no_grad():
        logits = centred(many)(x).double().numpy()
    drawn = np.random.default_rng(seed).permutation(len(many))
    fit, rest = sorted(drawn[: len(many) // 2]), np.array(sorted(drawn[len(many) // 2 :]))
    answers = []
    for h in streams:
        features = np.hstack([h.mean((2, 3)), np.ones((len(many), 1))])
        weight = np.linalg.lstsq(features[fit], logits[fit], rcond=None)[0]
        answers.append((features[rest] @ weight).argmax(1))
    return np.array(answers), logits[rest].argmax(1), rest


@pytest.mark.parametrize("seed", [0, 3])
def test_lenses_are_least_squares_on_the_other_half(many: Dataset, seed: int) -> None:
    network = ra.unravel(centred(many), many.batch(0, 2)[0])
    tables = refinement_page(network, many, seed=seed, batch_size=32)
    frame, depth = tables["refinement"], tables["refinement_depth"]
    answers, final, rest = lenses_by_numpy(many, seed)
    labels = np.asarray(many.labels)[rest]
    heads = ra.stream(network, many)
    assert (frame.attrs["n_lens"], frame.attrs["n_exits"]) == (40, 40)
    for unit, row in enumerate(frame.to_dict("records")):
        wrong = answers[unit] != labels
        assert row["lens_error"] == pytest.approx(wrong.mean(), abs=1e-7)
        ends = [float(end) for end in wilson(wrong.sum(), 40)]
        assert [row["lens_error_low"], row["lens_error_high"]] == pytest.approx(ends)
        assert row["lens_agreement"] == pytest.approx((answers[unit] == final).mean(), abs=1e-7)
        settled = [bool((answers[unit:, i] == final[i]).all()) for i in range(40)]
        assert row["settled"] == pytest.approx(np.mean(settled), abs=1e-7)
        assert np.isnan(row["head_error"]) == np.isnan(heads["exit_error"][unit])
    assert frame["head_agreement"].iloc[-1] == frame["lens_agreement"].iloc[-1] == 1
    by_hand = [next(u for u in range(7) if (answers[u:, i] == final[i]).all()) for i in range(40)]
    assert depth["depth"].tolist() == by_hand
    assert len(set(by_hand)) > 2
    assert depth["image"].tolist() == rest.tolist()
    assert depth["answer"].tolist() == final.tolist()
    assert depth["correct"].tolist() == (final == labels).tolist()
    for name, table in (("refinement", frame), ("refinement_depth", depth)):
        alone = getattr(ra, name)(network, many, seed=seed, batch_size=32)
        assert table.equals(alone)


def test_a_lens_that_ends_in_another_answer_leaves_it_to_the_head() -> None:
    """A head that is no linear layer: the last lens is not the model."""
    data = tiny_data(40)
    network = ra.unravel(cifar(14, version=2), data.batch(0, 2)[0])
    frame, depth = ra.refinement(network, data), ra.refinement_depth(network, data)
    left = (depth["depth"] == 6).mean()
    assert left == pytest.approx(1 - frame["lens_agreement"].iloc[-1])
    assert left > 0


def test_without_labels_or_classes_there_is_less() -> None:
    unlabelled = tiny_data(30, labelled=False)
    frame = ra.refinement(tiny_network(unlabelled), unlabelled)
    assert frame[["descent", "lens_error", "head_error"]].isna().all(axis=None)
    assert frame["settled"].iloc[-1] == 1
    sequences: Any = Rows(4, 3, 6, mask=torch.ones(4, 3, dtype=torch.long))
    network = ra.unravel(Masked([Nonlinear()]), sequences.batch(0, 2)[0])
    tables = refinement_page(network, sequences)
    assert list(tables) == ["refinement"]
    assert tables["refinement"][["lens_agreement", "settled"]].isna().all(axis=None)
    with pytest.raises(ResanalysisError, match="no prediction depth here: it takes an output"):
        ra.refinement_depth(network, sequences)
