"""Responses against two passes in double precision over activations caught by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

import resanalysis as ra
from resanalysis.datasets import Dataset
from resanalysis.experiments.response import std_interval
from resanalysis.measures.moments import layer_kind, layer_moments
from resanalysis.run.store import PartialStore
from tests.conftest import cifar, settle

COLUMNS = ["model", "layer", "name", "kind", "std", "std_low", "std_high", "rank"]


@pytest.fixture(scope="module")
def data() -> Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (23, 3, 12, 12), dtype=np.uint8)
    return ra.image_dataset(images, rng.integers(0, 5, 23), mean=[0.5] * 3, std=[0.25] * 3)


def whole(data: Dataset) -> Tensor:
    x = data.batch(0, len(data))[0]
    assert isinstance(x, Tensor)
    return x


def after_batch_norm(model: nn.Module, x: Tensor) -> dict[str, NDArray[np.float64]]:
    """Every batch norm's output, by the name of the convolution before it (conv1 → bn1)."""
    caught: dict[str, NDArray[np.float64]] = {}

    def catch(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object, out: Tensor) -> None:
            caught[name] = out.double().numpy().copy()

        return hook

    handles = [
        module.register_forward_hook(catch(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return {name.replace("bn", "conv"): values for name, values in caught.items()}


@pytest.mark.parametrize("batch_size", [1, 5, 23])
def test_std_is_that_of_two_passes_in_double_precision(data: Dataset, batch_size: int) -> None:
    model = cifar(14)
    frame = ra.response({"tiny": model}, data, batch_size=batch_size)
    assert list(frame.columns)[: len(COLUMNS)] == COLUMNS
    expected = after_batch_norm(model, whole(data))
    assert list(frame["name"]) == list(expected)  # 6n + 1 layers, in the order in which they run
    assert len(frame) == 13
    for row in frame.to_dict("records"):
        values = expected[row["name"]]
        mean = values.sum() / values.size
        std = np.sqrt(((values - mean) ** 2).sum() / values.size)
        assert row["std"] == pytest.approx(std, rel=1e-6)
        assert row["mean"] == pytest.approx(mean, rel=1e-5, abs=1e-6)
        assert row["batch_norm"]
    assert list(frame["layer"]) == list(range(1, 14))
    by_rank = frame.sort_values("rank")["std"].to_numpy()
    assert (np.diff(by_rank) <= 0).all()
    assert list(np.flatnonzero(np.diff(frame["stage"])) + 1) == [5, 9]


def test_a_large_mean_does_not_cancel_the_std() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=True))
    with torch.no_grad():
        model[0].bias.fill_(1e4)  # type: ignore[union-attr]
    x = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = model.double()(x.double()).numpy()
    found = ra.response(model, Few(x.double()), batch_size=2)  # type: ignore[arg-type]
    assert found["std"].item() == pytest.approx(out.std(), rel=1e-10)
    assert not found["batch_norm"].item()


class Few:
    """Unlabelled examples in memory."""

    name, subset, sha256 = "few", "", None

    def __init__(self, inputs: Tensor) -> None:
        self.inputs = inputs

    def __len__(self) -> int:
        return len(self.inputs)

    def batch(self, start: int, stop: int) -> tuple[Tensor, None]:
        return self.inputs[start:stop], None


def test_interval_is_a_bootstrap_over_images() -> None:
    rng = np.random.default_rng(3)
    images = [rng.normal(rng.normal(), rng.uniform(0.5, 2), 50) for _ in range(40)]
    n = np.array([[float(len(x)) for x in images]])
    mean = np.array([[x.mean() for x in images]])
    m2 = np.array([[((x - x.mean()) ** 2).sum() for x in images]])
    std, low, high = std_interval(n, mean, m2, seed=0)
    assert std[0] == pytest.approx(np.concatenate(images).std())
    other = stats.bootstrap(
        (np.arange(40),),
        lambda chosen: np.concatenate([images[int(i)] for i in chosen]).std(),
        vectorized=False, n_resamples=2000, method="percentile", rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert low[0] == pytest.approx(other.low, rel=0.02)
    assert high[0] == pytest.approx(other.high, rel=0.02)
    assert np.isnan(std_interval(n[:, :1], mean[:, :1], m2[:, :1])[1]).all()


class Odd(nn.Module):
    """A layer that never runs, one that runs twice, one with no batch norm, an in-place ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.twice = nn.Conv2d(4, 4, 3, padding=1)
        self.unused = nn.Conv2d(4, 4, 3)
        self.point = nn.Conv2d(4, 2, 1)
        self.head = nn.Linear(2, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.first(x)))
        x = self.relu(self.twice(self.relu(self.twice(x))))
        return self.head(self.point(x).mean((2, 3)))


def test_odd_layers_are_reported_not_averaged(data: Dataset) -> None:
    model = settle(Odd())
    with pytest.warns(UserWarning, match="1 layers of odd never ran on this data.*: unused"):
        frame = ra.response({"odd": model}, data)
    assert list(frame["name"]) == ["first", "twice", "unused"]
    absent = frame.iloc[2]
    assert absent["layer"] == absent["rank"] == -1
    assert np.isnan(absent["std"])
    assert frame.attrs["never_ran"] == {"odd": ["unused"]}
    with torch.no_grad():
        h = torch.relu(model.norm(model.first(whole(data))))  # type: ignore[operator]
        one = model.twice(h)  # type: ignore[operator]
        two = model.twice(torch.relu(one))  # type: ignore[operator]
    twice = frame.iloc[1]
    assert twice["calls"] == 2
    assert not twice["batch_norm"]
    assert twice["std"] == pytest.approx(float(torch.stack([one, two]).double().std(correction=0)))


def test_kinds_are_chosen_and_named(data: Dataset) -> None:
    model = settle(Odd())
    with pytest.warns(UserWarning, match="never ran"):
        every = ra.response(model, data, kinds="all")
    assert set(every["kind"]) == {"3x3", "1x1", "linear"}
    assert ra.response(model, data, kinds="linear")["name"].tolist() == ["head"]
    assert layer_kind(nn.Conv1d(1, 1, 7)) == "7"
    assert layer_kind(nn.ConvTranspose2d(1, 1, 2)) == "2x2 transposed"
    assert layer_kind(nn.ReLU()) is None
    message = "has no 5x5 layers; it has 1 1x1, 3 3x3, 1 linear. Choose among these"
    with pytest.raises(ValueError, match=message):
        ra.response(model, data, kinds="5x5")
    with pytest.raises(ValueError, match="no convolutional or linear layers; it has none"):
        ra.response(nn.Sequential(nn.Flatten()), data, kinds="all")


def test_a_view_is_no_model(data: Dataset) -> None:
    view = ra.unravel(cifar(8), data.batch(0, 2)[0])
    with pytest.raises(ra.ResanalysisError, match=r"give it as ra\.load returns it"):
        ra.response(view, data)  # type: ignore[arg-type]


def test_a_response_that_is_not_finite_is_an_error(data: Dataset) -> None:
    model = cifar(8)
    with torch.no_grad():
        model.layer2[0].bn1.weight.fill_(float("inf"))  # type: ignore[index]
    with pytest.raises(
        ValueError, match=r"the response of layer2.0.conv1 of CifarResNet is not finite"
    ):
        ra.response(model, data)


def test_the_model_is_left_as_it_was_also_after_an_error() -> None:
    model = cifar(8).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    layers = {"conv1": model.conv1}
    layer_moments(model, layers, torch.randn(2, 3, 8, 8), 2)
    with pytest.raises(RuntimeError):
        layer_moments(model, layers, torch.randn(2, 4, 8, 8), 2)
    assert model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_an_interrupted_pass_goes_on(data: Dataset, tmp_path: Path) -> None:
    model = cifar(8)
    store = PartialStore(tmp_path)
    first = ra.response(model, data, batch_size=5, store=store)
    assert len(store) == 5
    with torch.no_grad():
        model.conv1.weight.mul_(2)  # what is stored is not computed again
    pd.testing.assert_frame_equal(first, ra.response(model, data, batch_size=5, store=store))


def test_models_with_their_own_normalisation(data: Dataset) -> None:
    other = ra.image_dataset(np.zeros((4, 3, 12, 12), np.uint8), None, mean=[0.5] * 3, std=[1] * 3)
    frame = ra.response({"a": cifar(8), "b": cifar(8)}, {"a": data, "b": other})
    assert list(dict.fromkeys(frame["model"])) == ["a", "b"]
    a, b = (frame.loc[frame["model"] == name].reset_index(drop=True) for name in "ab")
    assert not np.allclose(a["std"], b["std"])
    alone = ra.response({"a": cifar(8)}, data)
    pd.testing.assert_frame_equal(a, alone)


def test_frozen_and_functional_batch_norm(data: Dataset) -> None:
    torchvision = pytest.importorskip("torchvision")

    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.norm = torchvision.ops.FrozenBatchNorm2d(4)
            self.norm.running_var.fill_(4.0)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.norm(self.conv(x)))

    model = Frozen().eval()
    frame = ra.response(model, data)
    with torch.no_grad():
        out = model.norm(model.conv(whole(data))).double()
    assert frame["std"].item() == pytest.approx(float(out.std(correction=0)), rel=1e-6)
