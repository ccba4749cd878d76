"""The table of gradients by length: its columns and laws, chunks, seeds, interruption, and real networks."""

from __future__ import annotations

import json
import warnings
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import resanalysis as ra
from resanalysis.datasets import Dataset
from resanalysis.experiments.gradients import gradients
from resanalysis.experiments.unit_share import unit_share
from resanalysis.network import ResidualNetwork
from resanalysis.path_gradients import freeze, length_sums, path_norms, record
from resanalysis.path_gradients.recorded import RecordedPasses
from resanalysis.routes.batches import chosen_batch_size, recorded_footprint, stream_bytes
from resanalysis.run.store import PartialStore
from resanalysis.statistics.bootstrap import mean_band
from resanalysis.statistics.path_norms import (
    decay_factor,
    in_words,
    mean_length,
    relative_error,
    root_of_count,
    root_pseudo_values,
    times,
)
from tests.conftest import cifar
from tests.path_gradients.brute_force import by_length, path_gradients
from tests.reference import bca

pytestmark = pytest.mark.filterwarnings("ignore:the interval of mean_norm")

CONTRACT = (
    "length,count,mean_norm,mean_norm_low,mean_norm_high,rms_norm,total_upper,sum_norm,signed_share"
)


def images_of(n: int, side: int = 8, seed: int = 0) -> Dataset:
    random = np.random.default_rng(seed)
    return ra.image_dataset(
        random.integers(0, 256, (n, 3, side, side), dtype=np.uint8),
        np.arange(n) % 5,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )


@pytest.fixture(scope="module")
def data() -> Dataset:
    return images_of(7)


@pytest.fixture(scope="module")
def network(data: Dataset) -> ResidualNetwork:
    return ra.unravel(cifar(20, shortcut="B"), data.batch(0, 2)[0])


@pytest.fixture(scope="module")
def table(network: ResidualNetwork, data: Dataset) -> pd.DataFrame:
    return gradients(network, data, samples=126, repetitions=40, dtype="float64")


def test_columns_are_the_contract(table: pd.DataFrame) -> None:
    assert ",".join(table.columns).startswith(CONTRACT)
    assert list(table["length"]) == list(range(10))
    assert list(table["count"]) == [comb(9, k) for k in range(10)]
    assert all(type(count) is int for count in table["count"])
    assert json.loads(json.dumps(table.attrs)) == table.attrs
    assert table.attrs["n"] == 7
    assert table.attrs["units"] == 9
    assert table.attrs["at"] == "input"


def test_the_table_equals_brute_force_over_512_paths(
    network: ResidualNetwork, data: Dataset, table: pd.DataFrame
) -> None:
    """126 samples list the paths of every length, so that also the mean is exact."""
    images, labels = data.batch(0, 7)
    assert labels is not None
    exact = freeze(network, dtype=torch.float64)
    paths = path_gradients(exact, images.double(), labels, "input")  # type: ignore[union-attr]
    whole = torch.stack(list(paths.values())).sum(0).flatten(1)
    for k, total in enumerate(by_length(paths)):
        row = table.loc[k]
        norms = torch.stack(
            [g.flatten(1).norm(dim=1) for bits, g in paths.items() if sum(bits) == k]
        )
        share = ((total.flatten(1) * whole).sum(1) / whole.square().sum(1)).mean()
        assert row["sum_norm"] == pytest.approx(
            float(total.flatten(1).norm(dim=1).mean()), rel=1e-9
        )
        assert row["mean_norm"] == pytest.approx(float(norms.mean()), rel=1e-9)
        assert row["total_upper"] == pytest.approx(float(norms.sum(0).mean()), rel=1e-9)
        assert row["signed_share"] == pytest.approx(float(share), rel=1e-9, abs=1e-15)
        quartiles = np.quantile(norms.mean(1).numpy(), [0.25, 0.5, 0.75])
        assert list(row[["q25_norm", "median_norm", "q75_norm"]]) == pytest.approx(list(quartiles))
        assert row["listed"]
        assert row["mean_norm_low"] == row["mean_norm_high"] == row["mean_norm"]
        rms = float(norms.square().mean(0).sqrt().mean())
        width = row["rms_norm_high"] - row["rms_norm_low"]
        assert abs(row["rms_norm"] - rms) <= max(2 * width, 1e-9 * rms)
        assert width < 0.5 * rms


def test_laws(table: pd.DataFrame) -> None:
    assert table["signed_share"].sum() == pytest.approx(1, abs=1e-9)
    assert table["upper_share"].sum() == pytest.approx(1, abs=1e-9)
    assert (table["total_upper"] >= table["sum_norm"] * (1 - 1e-9)).all()
    ends = table.loc[[0, 9]]  # of one path only
    assert ends["mean_norm"].tolist() == pytest.approx(ends["rms_norm"].tolist(), rel=1e-9)
    assert ends["mean_norm"].tolist() == pytest.approx(ends["sum_norm"].tolist(), rel=1e-9)
    low, high = table.attrs["effective_exact"]
    assert (
        table["signed_share"].abs()[low : high + 1].sum()
        >= 0.95 * table["signed_share"].abs().sum()
    )
    assert table.attrs["mean_length_exact"] == pytest.approx(
        (table["length"] * table["signed_share"]).sum()
    )


def test_the_size_of_a_batch_and_the_device_change_nothing(
    network: ResidualNetwork, data: Dataset, table: pd.DataFrame
) -> None:
    other = gradients(
        network, data, samples=126, repetitions=40, dtype="float64", batch_size=3, device="cpu"
    )
    pd.testing.assert_frame_equal(other, table, rtol=1e-9)


def test_the_same_seed_gives_the_same_table(network: ResidualNetwork, data: Dataset) -> None:
    options: dict[str, Any] = {"samples": 8, "repetitions": 3}
    first, again = (gradients(network, data, seed=5, **options) for _ in range(2))
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    other = gradients(network, data, seed=6, **options)
    assert (other["mean_norm"] != first["mean_norm"])[4]
    assert (other["rms_norm"] != first["rms_norm"])[4]
    assert other["sum_norm"].equals(first["sum_norm"])


def test_single_precision_agrees(
    network: ResidualNetwork, data: Dataset, table: pd.DataFrame
) -> None:
    single = gradients(network, data, samples=126, repetitions=40)
    for name in ("mean_norm", "sum_norm", "rms_norm"):
        assert np.allclose(single[name], table[name], rtol=2e-4)


def test_one_method_leaves_the_others_empty(network: ResidualNetwork, data: Dataset) -> None:
    exact = gradients(network, data, method="exact", max_length=3)
    assert len(exact) == 4
    assert exact[["mean_norm", "rms_norm", "total_upper", "upper_share"]].isna().all(axis=None)
    assert "effective_exact" not in exact.attrs  # the longer paths are not known
    sampled = gradients(network, data, method=["sampled"], samples=4, max_length=2)
    assert sampled[["sum_norm", "signed_share", "rms_norm", "upper_share"]].isna().all(axis=None)
    assert sampled["total_upper"].notna().all()


def test_draws_go_on_until_they_are_precise(network: ResidualNetwork, data: Dataset) -> None:
    coarse = gradients(network, data, method="sampled", precision=0.9)
    fine = gradients(network, data, method="sampled", precision=0.02)
    assert list(coarse["samples"]) == [1, 9, *[32] * 6, 9, 1]  # all paths, where there are so few
    assert fine["samples"].max() > 64
    assert (fine["samples"] >= coarse["samples"]).all()


def test_a_few_dominating_paths_are_warned_of(data: Dataset) -> None:
    """One unit's branch is ten thousand times larger: paths with it make the mean."""
    torch.manual_seed(0)
    model = cifar(32)
    network = ra.unravel(model, data.batch(0, 2)[0])
    with torch.no_grad():
        model.layer1[0].bn2.weight.mul_(1e4)
    with pytest.warns(UserWarning, match=r"^the interval of mean_norm is wider than the mean at lengths "
                      r".*: a few paths dominate; give more samples, or use rms and exact$"):  # fmt: skip
        table = gradients(network, data, method="sampled", samples=4)
    uncertain = table.attrs["uncertain_lengths"]
    wide = table["mean_norm_high"] - table["mean_norm_low"] > table["mean_norm"]
    assert uncertain == list(table["length"][wide])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradients(network, data, method="sampled", samples=4, max_length=0)


def test_an_interrupted_run_goes_on(
    network: ResidualNetwork, data: Dataset, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"samples": 4, "repetitions": 2, "batch_size": 2}
    wanted = gradients(network, data, **options)

    class Interrupted(PartialStore):
        left = 5

        def put(self, key: str, arrays: Any) -> None:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            super().put(key, arrays)

    with pytest.raises(KeyboardInterrupt):
        gradients(network, data, store=Interrupted(tmp_path), **options)
    store = PartialStore(tmp_path)
    assert len(store) == 5
    pd.testing.assert_frame_equal(gradients(network, data, store=store, **options), wanted)


def test_a_subset_is_stratified_and_named(network: ResidualNetwork) -> None:
    table = gradients(network, images_of(40), method="exact", images=10)
    assert table.attrs["n"] == 10
    assert table.attrs["subset"] == "stratified subset of 10 from 40, seed 0"


def test_unit_shares_add_up(network: ResidualNetwork, data: Dataset, table: pd.DataFrame) -> None:
    units = unit_share(network, data, dtype="float64", batch_size=3)
    assert list(units.columns)[:6] == ["unit", "name", "stage", "transition", "length", "share"]
    by_length = units.groupby("length")["share"].sum().to_numpy()
    wanted = (table["length"] * table["signed_share"]).to_numpy()
    assert np.allclose(by_length, wanted, atol=1e-9)
    assert (units["share_low"] <= units["share_high"]).all()
    assert set(units.loc[units["transition"], "unit"]) == {3, 6}
    short = unit_share(network, data, dtype="float64", max_length=2)
    first = units[units["length"] <= 2]
    assert np.allclose(short["share"], first["share"], atol=1e-12)


def test_totals_of_units_have_the_interval_of_their_own_images(
    network: ResidualNetwork, data: Dataset
) -> None:
    """Images one by one, summed over lengths, then resampled: not the ends of the lengths added up."""
    from dataclasses import replace

    units = unit_share(network, data, dtype="float64", seed=3)
    assert data.labels is not None
    singles = [
        replace(data, indices=data.indices[[row]], labels=data.labels[[row]])
        for row in range(len(data))
    ]
    totals = np.stack(
        [
            unit_share(network, one, dtype="float64").groupby("unit")["share"].sum()
            for one in singles
        ]
    )
    low, high = zip(*(bca(column, seed=3) for column in totals.T), strict=True)
    first = units.drop_duplicates("unit")
    np.testing.assert_allclose(first["total"], totals.mean(axis=0), atol=1e-9)
    # Of so few images many resamples tie with the mean, and scipy counts ties by their last bit.
    np.testing.assert_allclose(first["total_low"], low, atol=2e-3)
    np.testing.assert_allclose(first["total_high"], high, atol=2e-3)


def test_without_a_branch_its_paths_are_gone(data: Dataset) -> None:
    """A unit whose branch is constant carries nothing, and the sums are those of a shorter network."""
    model = cifar(20)
    with torch.no_grad():
        model.layer2[1].bn2.weight.zero_()
    network = ra.unravel(model, data.batch(0, 2)[0])
    units = unit_share(network, data)
    assert not units.loc[units["unit"] == 4, "share"].any()
    table = gradients(network, data, method="exact")
    assert table["sum_norm"].iloc[-1] == 0
    assert table["signed_share"].sum() == pytest.approx(1, abs=1e-5)


def image_net(name: str) -> nn.Module:
    import torchvision

    torch.manual_seed(0)
    return getattr(torchvision.models, name)(num_classes=5).eval()


@pytest.mark.parametrize(
    ("model", "side"),
    [
        (lambda: cifar(14, version=2), 8),
        (lambda: cifar(14, version=2, shortcut="B"), 8),
        (lambda: image_net("resnet18"), 32),
        pytest.param(
            lambda: image_net("resnet50"), 32, marks=[pytest.mark.slow, pytest.mark.nightly]
        ),
    ],
    ids=["pre-activation", "pre-activation, projections", "resnet18", "bottleneck resnet50"],
)
def test_other_families_sum_to_the_gradient(model: Any, side: int) -> None:
    built, data = model(), images_of(3, side)
    images, labels = data.batch(0, 3)
    network = ra.unravel(built, images)
    start = images.clone().requires_grad_()  # type: ignore[union-attr]
    loss = nn.functional.cross_entropy(built(start), labels, reduction="sum")  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(loss, start)
    table = gradients(network, data, method="exact")
    tape = record(freeze(network), images, labels)  # type: ignore[arg-type]
    ours = torch.stack(length_sums(tape)).sum(0) * tape.scale.view(-1, 1, 1, 1)
    assert float((ours - gradient).norm() / gradient.norm()) < 1e-5
    assert table["signed_share"].sum() == pytest.approx(1, abs=1e-5)


def test_a_token_model_is_measured_before_its_first_unit() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.mlp = nn.LayerNorm(8), nn.Linear(8, 8)

        def forward(self, h: Tensor) -> Tensor:
            return h + torch.tanh(self.mlp(self.norm(h)))

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(11, 8), nn.Linear(8, 11)
            self.blocks = nn.Sequential(*(Block() for _ in range(4)))

        def forward(self, input_ids: Tensor) -> Tensor:
            return self.head(self.blocks(self.embed(input_ids)))

    class Text:
        name, subset = "text", ""

        def __len__(self) -> int:
            return len(tokens)

        def batch(self, start: int, stop: int) -> tuple[dict[str, Tensor], Tensor]:
            return {"input_ids": tokens[start:stop]}, tokens[start:stop]

    torch.manual_seed(0)
    tokens = torch.randint(11, (3, 6))
    network = ra.unravel(Tokens().eval(), {"input_ids": tokens})
    data: Any = Text()
    table = gradients(network, data, at="first-unit", images=None, samples=6, repetitions=2)
    assert list(table["count"]) == [1, 4, 6, 4, 1]
    assert table["signed_share"].sum() == pytest.approx(1, abs=1e-5)
    assert (table["total_upper"] >= table["sum_norm"] * (1 - 1e-5)).all()
    with pytest.raises(ValueError, match="measure it at the stream before the first unit"):
        gradients(network, data, images=None)


def test_errors(network: ResidualNetwork, data: Dataset) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"method": "fast"}, r"^methods are exact, sampled and rms, got \['fast'\]$"),
        ({"method": ()}, r"^methods are exact, sampled and rms, got none$"),
        ({"samples": 1}, r"^a mean with an interval needs at least 2 samples per length, got 1$"),
        ({"precision": 0}, r"^precision is a relative standard error in \(0, 1\), got 0$"),
        ({"repetitions": 1}, r"^an interval needs at least 2 repetitions, got 1$"),
        ({"max_length": -1}, r"^the longest path has length 0 or more, got -1$"),
        ({"dtype": "half"}, r"^dtype is float32 or float64, got 'half'$"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            gradients(network, data, **options)
    unlabelled = ra.image_dataset(
        np.zeros((2, 3, 8, 8), dtype=np.uint8), None, mean=(0.5,) * 3, std=(0.5,) * 3
    )
    with pytest.raises(
        ValueError, match=r"^gradients are those of the loss: the data has no labels$"
    ):
        gradients(network, unlabelled)
    with pytest.raises(ValueError, match=r"^the longest path has length 0 or more, got -1$"):
        unit_share(network, data, max_length=-1)


def test_a_loss_that_is_not_finite_is_refused(data: Dataset) -> None:
    model = cifar(14)
    network = ra.unravel(model, data.batch(0, 2)[0])
    with torch.no_grad():
        model.linear.bias[0] = torch.nan
    with pytest.raises(
        ValueError, match=r"^the loss of CifarResNet is not finite on images 0 to 6$"
    ):
        gradients(network, data, method="exact")


def test_images_without_gradient_are_left_out_of_the_shares(data: Dataset) -> None:
    model = cifar(14)
    nn.init.zeros_(model.linear.weight)
    network = ra.unravel(model, data.batch(0, 2)[0])
    table = gradients(network, data, method="exact")
    assert table["signed_share"].isna().all()
    assert not table["sum_norm"].any()
    with pytest.raises(ValueError, match=r"^the loss of CifarResNet has no gradient on any of the"):
        unit_share(network, data)


def test_a_fixed_batch_size_is_filled_up(network: ResidualNetwork, data: Dataset) -> None:
    from dataclasses import replace

    fixed = replace(network, batch_size=4)
    options: dict[str, Any] = {"samples": 4, "repetitions": 2}
    pd.testing.assert_frame_equal(
        gradients(fixed, data, **options), gradients(network, data, **options), rtol=1e-5
    )


def test_memory_bounds_the_images_at_once(network: ResidualNetwork) -> None:
    one = stream_bytes(network)
    assert one == 4 * 4 * 8 * 8
    held = recorded_footprint(10)
    enough = 50 * one + 5 * held.output * network.outputs
    assert chosen_batch_size(network, 1000, held, memory=enough) == 4
    assert chosen_batch_size(network, 3, held, memory=enough) == 3
    assert chosen_batch_size(network, 1000, held, memory=1) == 1
    # On a CPU eight times fewer than forwards: a unit's pull reads what its branch has kept.
    going = chosen_batch_size(network, 10_000, memory=2**40)
    assert chosen_batch_size(network, 10_000, held, memory=2**40) == going // 8


def test_what_is_measured_alone_is_what_the_table_averages(
    network: ResidualNetwork, data: Dataset
) -> None:
    mask = np.zeros((1, 9), dtype=bool)
    over = RecordedPasses.of(freeze(network), data, "input", held=90, batch_size=3)
    found = over.measure("x", lambda tape, _: {"norms": path_norms(tape, mask).numpy()})["norms"]
    assert found.shape == (1, 7)
    table = gradients(network, data, method="sampled", max_length=0)
    assert table["mean_norm"][0] == pytest.approx(found.mean(), rel=1e-6)


def test_decay_factor_of_a_geometric_curve() -> None:
    lengths = np.arange(10.0)
    size = np.linspace(1, 3, 20)  # every image decays alike, whatever its size
    exact = decay_factor(lengths, 0.25 ** lengths[:, None] * size)
    assert list(exact) == pytest.approx([0.25, 0.25, 0.25])
    assert np.isnan(decay_factor(lengths[:2], np.ones((2, 20))).mean)
    alone = decay_factor(lengths, 0.25 ** lengths[:, None])
    assert alone.mean == pytest.approx(0.25)
    assert np.isnan([alone.low, alone.high]).all()


@pytest.mark.nightly
def test_the_decay_interval_covers_what_more_images_would_give() -> None:
    """Images of lognormal sizes whose decay varies: the interval is that of the mean over images."""
    random = np.random.default_rng(0)
    lengths = np.arange(8.0)

    def images(n: int) -> NDArray[np.float64]:
        slopes, sizes = random.normal(-1.4, 0.2, n), np.exp(random.normal(0, 0.7, n))
        return sizes * np.exp(slopes * lengths[:, None])

    truth = decay_factor(lengths, images(200_000)[:, :]).mean
    found = [decay_factor(lengths, images(100), seed=draw) for draw in range(200)]
    inside = sum(one.low <= truth <= one.high for one in found)
    assert 172 <= inside <= 199


def test_decay_is_fitted_over_the_effective_lengths(
    network: ResidualNetwork, data: Dataset, table: pd.DataFrame
) -> None:
    low, high = table.attrs["effective_exact"]
    assert table.attrs["decay_lengths"] == [low, high]
    some = table.iloc[low : high + 1]
    slope = np.polyfit(some["length"], np.log(some["mean_norm"]), 1)[0]
    factor, below, above = table.attrs["decay_mean"]
    assert factor == pytest.approx(np.exp(slope), rel=1e-9)
    assert below < factor < above
    # All paths are listed: the interval is over images, and half of them lie on one side of it.
    assert table["listed"].all()
    slope = np.polyfit(some["length"], np.log(some["rms_norm"]), 1)[0]
    assert table.attrs["decay_rms"][0] == pytest.approx(np.exp(slope), rel=1e-6)


def test_root_pseudo_values_take_the_bias_away() -> None:
    random = np.random.default_rng(0)
    squares = random.chisquare(3, (8, 1, 20_000)) / 3
    plain = np.sqrt(squares.mean(axis=0)).mean()
    better = root_pseudo_values(squares).mean()
    assert abs(better - 1) < 0.25 * abs(plain - 1)
    constant = np.full((4, 2, 3), 9.0)
    assert np.allclose(root_pseudo_values(constant), 3)


def test_bands_and_small_summaries() -> None:
    random = np.random.default_rng(0)
    values = random.normal(2, 1, (3, 400))
    band = mean_band(values, seed=0)
    assert np.allclose(band.mean, values.mean(axis=1))
    assert np.allclose(band.high - band.low, 2 * 1.96 / 20, rtol=0.15)
    assert relative_error(np.array([1.0])) == float("inf")
    assert relative_error(np.zeros(3)) == 0
    assert relative_error(np.array([1.0, 3.0])) == pytest.approx(0.5)
    counts: NDArray[np.float64] = np.array([1.0, 2.0, 1.0])
    assert mean_length(counts) == 1
    assert np.isnan(mean_length(np.zeros(3)))


def test_counts_beyond_floats() -> None:
    """600 units, as in a network of 1202 layers, have up to 10^179 paths a length; 1100 have more."""
    assert times(1e-170, comb(600, 300)) == pytest.approx(
        comb(600, 300) // 10**160 / 1e10, rel=1e-9
    )
    assert times(1.0, comb(1100, 550)) == np.inf
    assert np.isnan(times(np.nan, 3))
    assert root_of_count(comb(600, 300)) == pytest.approx(comb(600, 300) ** 0.5, rel=1e-12)
    assert root_of_count(2) == pytest.approx(2**0.5, rel=1e-9)


def test_lengths_in_words() -> None:
    assert in_words([3, 5, 6, 7, 9]) == "3, 5 to 7, 9"


@pytest.mark.nightly
def test_resnet56_carries_its_gradient_on_short_paths(shared: Path) -> None:
    model = ra.load(shared / "models/cifar10/resnet56-4bfd9763.th")
    data = ra.dataset(
        shared / "data/cifar10/cifar10_test_first1017.npz", normalize="imagenet", limit=4
    )
    images, labels = data.batch(0, 4)
    network = ra.unravel(model, images)
    start = images.clone().requires_grad_()  # type: ignore[union-attr]
    loss = nn.functional.cross_entropy(model(start), labels, reduction="sum")  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(loss, start)
    tape = record(freeze(network), images, labels)  # type: ignore[arg-type]
    ours = torch.stack(length_sums(tape)).sum(0) * tape.scale.view(-1, 1, 1, 1)
    assert float((ours - gradient).norm() / gradient.norm()) < 1e-5
    table = gradients(network, data, method="exact")
    assert int(table["signed_share"].argmax()) in (6, 7)
    assert table["signed_share"][15:].abs().sum() < 1e-3
