"""``recalibrate`` and ``replace`` in the tables: disjoint examples, twin columns, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import resanalysis as ra
from resanalysis.datasets import Dataset
from resanalysis.datasets.halves import others, set_aside
from resanalysis.experiments.protocol import protocol_of, recalibrated
from resanalysis.network import ResidualNetwork
from resanalysis.routes.route import intact, without
from resanalysis.statistics.bootstrap import mean_band
from tests.conftest import cifar

N = 20


@pytest.fixture(scope="module")
def network(data: Dataset) -> ResidualNetwork:
    model = cifar(14)
    x = data.batch(0, 60)[0]
    with torch.no_grad():  # an untrained network answers all images alike; centred logits do not
        model.get_parameter("linear.bias").sub_(model(x).mean(0))
    return ra.unravel(model, x[:2])  # type: ignore[index]


def score_of_first(output: torch.Tensor, _: Any, __: Any) -> torch.Tensor:
    return output[:, 0]


RUNS: dict[str, dict[str, Any]] = {
    "lesion": {"metric": score_of_first},
    "lesion_many": {"removed": (1, 2), "draws": 3, "metric": score_of_first},
    "reorder": {"draws": 3, "metric": score_of_first},
    "rearrange": {"sizes": (2,), "draws": 1, "measure": "agreement"},
    "prune": {"orders": ("greedy", "random"), "draws": 1, "timing": 0, "until": 2},
}


class Seen:
    """A data set that notes which of its images were read."""

    def __init__(self, source: Any) -> None:
        self.source, self.rows = source, set[int]()

    def __len__(self) -> int:
        return len(self.source)

    def read(self, indices: Any) -> Any:
        self.rows |= set(map(int, indices))
        return self.source.read(indices)

    def digest(self) -> str:
        return self.source.digest()


@pytest.mark.parametrize("stem", RUNS)
def test_twin_columns_beside_the_same_numbers(
    stem: str, network: ResidualNetwork, data: Dataset
) -> None:
    function: Callable[..., pd.DataFrame] = getattr(ra, stem)
    frame = function(network, data, **RUNS[stem], recalibrate=N, seed=3)
    if stem == "prune":  # statistics are estimated on the half that orders are found on
        plain = function(network, data, **RUNS[stem], seed=3)
    else:
        _, rest = set_aside(data, N, 3, "")
        plain = function(network, rest, **RUNS[stem], seed=3)
    new = [name for name in frame if "_recalibrated" in name]
    pd.testing.assert_frame_equal(frame.drop(columns=[*new, *_stale(frame)]), plain)
    measured = [name for name in ("error", "loss", "agreement") if name in plain]
    assert {f"{name}_recalibrated" for name in measured} <= set(new)
    assert not np.allclose(frame["loss"], frame["loss_recalibrated"])
    assert frame.attrs["recalibrate"] == N
    assert "estimated anew on 20 examples that are not measured" in frame.attrs["batch_norm"]
    assert plain.attrs["batch_norm"] == "running statistics"


def _stale(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame if name.startswith("stale")]


def test_calibration_examples_are_never_measured(network: ResidualNetwork, data: Dataset) -> None:
    for by in ("zero", "mean"):
        protocol = protocol_of(network, data, 5, recalibrate=N, by=by, mean_over=10 if by == "mean" else None)  # type: ignore[arg-type]  # fmt: skip
        assert protocol.calibration is not None
        aside = set(protocol.calibration.indices)
        assert len(aside) == N
        assert not aside & set(protocol.measured.indices)
        assert len(protocol.measured) == 40 - (10 if by == "mean" else 0)


def test_the_sets_are_disjoint_as_they_are_read(
    network: ResidualNetwork, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the images that are read for statistics, and those that are read to be scored."""
    from dataclasses import replace

    from resanalysis.experiments import protocol

    seen: list[tuple[set[int], set[int]]] = []
    run = protocol.evaluate

    def noted(network: Any, routes: Any, data: Any, *, calibration: Any = None, **how: Any) -> Any:
        one = Seen(data.source)
        other = Seen(data.source)
        if calibration is not None:
            calibration = replace(calibration, source=other)
        found = run(network, routes, replace(data, source=one), calibration=calibration, **how)
        seen.append((one.rows, other.rows))
        return found

    monkeypatch.setattr(protocol, "evaluate", noted)
    ra.lesion(network, data, recalibrate=N)
    (before, none), (after, estimated) = seen
    assert not none
    assert before == after
    assert len(before) == 40
    assert len(estimated) == N
    assert not before & estimated


def test_numbers_of_a_lesion_are_those_of_the_evaluator(
    network: ResidualNetwork, data: Dataset
) -> None:
    frame = ra.lesion(network, data, recalibrate=N).set_index("unit")
    calibration, rest = set_aside(data, N, 0, "")
    routes = [intact(network), *(without(network, [unit]) for unit in range(6))]
    before = ra.evaluate(network, routes, rest).values["error"].astype(float)
    after = (
        ra.evaluate(network, routes, rest, calibration=calibration).values["error"].astype(float)
    )
    for unit in range(6):
        row = frame.loc[unit]
        assert row["error_recalibrated"] == pytest.approx(after[unit + 1].mean())
        left = after[unit + 1] - after[0]
        assert row["delta_recalibrated"] == pytest.approx(left.mean())
        assert row["delta_recalibrated_low"] <= left.mean() <= row["delta_recalibrated_high"]
        stale = before[unit + 1] - before[0] - left
        assert row["stale"] == pytest.approx(row["delta"] - row["delta_recalibrated"])
        band = mean_band(stale[None])
        # Rows of one table share the resamples, which do not depend on how many rows there are.
        assert [row["stale_low"], row["stale_high"]] == pytest.approx([band.low[0], band.high[0]])
    assert frame.loc[-1, ["stale", "stale_low", "stale_high"]].tolist() == [0, 0, 0]


def test_examples_for_statistics_and_means_can_come_from_elsewhere(
    network: ResidualNetwork, data: Dataset
) -> None:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (30, 3, 16, 16), dtype=np.uint8)
    training = ra.image_dataset(images, rng.integers(0, 5, 30), mean=[0.5] * 3, std=[0.25] * 3)
    frame = ra.lesion(network, data, recalibrate=N, calibrate_on=training).set_index("unit")
    routes = [intact(network), *(without(network, [unit]) for unit in range(6))]
    few = training.limited(N, 0)
    after = ra.evaluate(network, routes, data, calibration=few).mean("error")
    assert frame["error_recalibrated"].to_numpy() == pytest.approx(after)
    plain = ra.lesion(network, data).set_index("unit")
    assert frame["error"].to_numpy() == pytest.approx(plain["error"]), "all of the data is measured"
    assert frame.attrs["calibrate_on_sha256"] == training.sha256
    protocol = protocol_of(network, data, 0, by="mean", mean_over=30, calibrate_on=training)
    assert len(protocol.measured) == len(data)
    for run in ("lesion_many", "reorder", "rearrange"):
        table = getattr(ra, run)(network, data, recalibrate=N, calibrate_on=training, **RUNS[run])
        assert table.attrs["n"] == len(data)


def test_prune_estimates_on_examples_its_orders_are_found_on(
    network: ResidualNetwork, data: Dataset
) -> None:
    with pytest.raises(ValueError, match="on 31 of the 30 examples that orders are found on"):
        ra.prune(network, data, recalibrate=31, **RUNS["prune"])
    frame = ra.prune(network, data, recalibrate=N, **RUNS["prune"])
    assert frame["error_recalibrated_low"].le(frame["error_recalibrated"]).all()
    assert frame.loc[0, "delta_recalibrated"] == 0
    assert len(frame) == 5


@pytest.mark.parametrize("by", ["mean", "element-mean", "resample"])
def test_stand_ins_change_deletions_and_nothing_else(
    network: ResidualNetwork, data: Dataset, by: Any
) -> None:
    over = None if by == "resample" else 15
    rest = data if over is None else set_aside(data, 15, 0, "")[1]
    frame = ra.lesion(network, data, replace=by, mean_over=over)
    plain = ra.lesion(network, rest)
    pd.testing.assert_frame_equal(frame.iloc[:1], plain.iloc[:1])
    assert not np.isclose(frame["loss"][1:], plain["loss"][1:], rtol=1e-3).any()
    assert frame.attrs["replace"] == by
    assert frame.attrs.get("means_over") == over
    many = ra.lesion_many(network, data, removed=(1,), draws=6, replace=by, mean_over=over)
    alone = frame.set_index("unit")["loss"]
    for units, loss in zip(many["units"], many["loss"], strict=True):
        assert loss == pytest.approx(alone[int(units)], rel=1e-5)


def test_a_stand_in_serves_estimated_statistics_too(
    network: ResidualNetwork, data: Dataset
) -> None:
    for by in ("mean", "resample"):
        over = 10 if by == "mean" else None
        frame = ra.lesion(network, data, recalibrate=N, replace=by, mean_over=over)  # type: ignore[arg-type]
        zero = ra.lesion(network, data, recalibrate=N)
        assert frame["loss_recalibrated"].notna().all()
        assert not np.isclose(frame["loss_recalibrated"][1:], zero["loss_recalibrated"][1:]).any()
    with pytest.raises(ra.ResanalysisError, match="not for replace=linear: give one of the two"):
        ra.prune(network, data, recalibrate=N, replace="linear", **RUNS["prune"])


def test_every_example_has_another_as_its_donor(data: Dataset) -> None:
    donors = others(data, 4)
    assert sorted(donors.indices) == sorted(data.indices)
    assert (donors.indices != data.indices).all()
    assert donors.labels is not None
    assert data.labels is not None
    assert (donors.labels == data.labels[donors.indices]).all()
    assert not (others(data, 5).indices == donors.indices).all()
    with pytest.raises(ValueError, match="only one example"):
        others(data.limited(1), 0)


def test_nonsense_is_refused_in_one_line(network: ResidualNetwork, data: Dataset) -> None:
    def refused(matching: str, network: ResidualNetwork = network, **options: Any) -> None:
        with pytest.raises(ra.ResanalysisError, match=matching) as error:
            ra.lesion(network, data, **options)
        assert "\n" not in str(error.value)

    refused("anew on 60 examples that are not measured, of the 60", recalibrate=60)
    refused("cannot be estimated on 1 example", recalibrate=1)
    refused("means of branches are taken on 200 examples", replace="mean")
    refused("over how many examples a mean is, and zero is none", mean_over=10)
    refused("for statistics or means come from, and none are asked for", calibrate_on=data)
    half = data.limited(30, 0)
    refused("is what is measured: leave out --calibrate-on", calibrate_on=half, recalibrate=N)
    other = ra.image_dataset(
        np.full((5, 3, 16, 16), 7, np.uint8), np.zeros(5, int), mean=[0.5] * 3, std=[1.0] * 3
    )
    refused("on 20 examples of the 5 in", calibrate_on=other, recalibrate=N)
    refused("mean stands in for a branch, and here skips are cut", replace="mean", part="skip")
    torch.manual_seed(0)
    plain = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5),
    )  # fmt: skip
    bare = ra.unravel(plain, data.batch(0, 2)[0], plain=True)
    refused("Sequential has no batch norm with running statistics", bare, recalibrate=N)
    refused("is a plain layer: only zero", bare, replace="mean", mean_over=10)


def test_names_of_twin_columns() -> None:
    assert recalibrated("error") == "error_recalibrated"
    assert recalibrated("error_low") == "error_recalibrated_low"
    assert recalibrated("p_holm") == "p_holm_recalibrated"
