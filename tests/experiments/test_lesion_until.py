"""Lesions that stop early against the full sweep, cut where each of them stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import resanalysis as ra
from resanalysis.datasets import Dataset
from resanalysis.datasets.halves import Section, shuffled
from resanalysis.errors import ResanalysisError
from resanalysis.network import ResidualNetwork
from resanalysis.routes.evaluator import evaluate
from resanalysis.routes.route import intact, without
from resanalysis.run.store import PartialStore
from resanalysis.statistics.sequences import difference_p, difference_sequence, mean_sequence
from tests.conftest import cifar

N, WIDTH = 500, 0.16


@pytest.fixture(scope="module")
def data() -> Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (N, 3, 8, 8), dtype=np.uint8)
    return ra.image_dataset(images, rng.integers(0, 5, N), mean=[0.5] * 3, std=[0.25] * 3)


@pytest.fixture(scope="module")
def network(data: Dataset) -> ResidualNetwork:
    """One branch does nothing, another next to nothing, the others much."""
    model = cifar(14)
    with torch.no_grad():
        for block, factor in ((model.layer1[1], 0.0), (model.layer3[1], 0.1)):
            block.bn2.weight.mul_(factor)  # type: ignore[union-attr, operator]
            block.bn2.bias.mul_(factor)  # type: ignore[union-attr, operator]
    return ra.unravel(model, data.batch(0, 2)[0])


@pytest.fixture(scope="module")
def frame(network: ResidualNetwork, data: Dataset) -> pd.DataFrame:
    return ra.lesion(network, data, until_width=WIDTH, seed=3)


def test_every_row_is_the_full_sweep_as_far_as_it_went(
    frame: pd.DataFrame, network: ResidualNetwork, data: Dataset
) -> None:
    routes = [intact(network), *(without(network, [unit]) for unit in range(6))]
    full = evaluate(network, routes, shuffled(data, 3)).values
    error = full["error"]
    assert frame["seen"].nunique() > 1
    assert frame["seen"].iloc[0] == frame["seen"].max() == frame.attrs["n"]
    for row, seen in enumerate(frame["seen"]):
        found = frame.iloc[row]
        for name in ("error", "loss", "agreement", "kl"):
            assert found[name] == pytest.approx(full[name][row, :seen].mean(), abs=1e-6)
        assert [found["error_low"], found["error_high"]] == pytest.approx(
            mean_sequence(error[row, :seen]).row(0)[1:]
        )
        if row == 0:
            continue
        looks = [128]
        while looks[-1] < N:
            looks.append(min(int(looks[-1] * 1.25), N))
        bands = [difference_sequence(error[row, :n], error[0, :n]).row(0) for n in looks]
        stop = next((i for i, b in enumerate(bands) if b.high - b.low <= WIDTH), len(bands) - 1)
        assert seen == looks[stop]
        assert [found["delta"], found["delta_low"], found["delta_high"]] == pytest.approx(
            bands[stop]
        )
        p = difference_p(error[row, :seen], error[0, :seen])[0]
        assert found["p_value"] == pytest.approx(p)
        assert found["p_value"] <= found["p_holm"] <= 1
    assert frame[["loss_low", "kl_high"]].isna().all(axis=None)


def test_what_does_nothing_stops_first_and_work_is_counted(frame: pd.DataFrame) -> None:
    units = frame.set_index("unit").drop(-1)
    assert units.loc[1, "seen"] == units["seen"].min() == 128
    assert units.loc[1, "delta"] == 0
    # A unit's route parts from the intact one at its place: what lies behind it is its own work.
    work = sum(seen * (6 - unit) for unit, seen in units["seen"].items())
    assert frame.attrs["unit_evaluations"] == work + 6 * frame["seen"].max()
    assert frame.attrs["unit_evaluations_saved"] == pytest.approx(
        1 - frame.attrs["unit_evaluations"] / (N * (6 + 21))
    )
    assert frame.attrs["n_available"] == N


def test_seeds_decide_the_order_and_stores_go_on(
    frame: pd.DataFrame, network: ResidualNetwork, data: Dataset, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    store = PartialStore(tmp_path)
    pd.testing.assert_frame_equal(
        frame, ra.lesion(network, data, until_width=WIDTH, seed=3, store=store)
    )
    blocks = len(store)

    def never(*_: Any) -> None:
        raise AssertionError("everything is in the store")

    monkeypatch.setattr(Section, "batch", never)
    again = ra.lesion(network, data, until_width=WIDTH, seed=3, store=store)
    pd.testing.assert_frame_equal(frame, again)
    assert len(store) == blocks > 1
    monkeypatch.undo()
    other = ra.lesion(network, data, until_width=WIDTH, seed=4)
    assert not other["loss"].equals(frame["loss"])


def test_a_width_that_is_never_reached_is_the_full_sweep(
    network: ResidualNetwork, data: Dataset
) -> None:
    small = data.limited(140)
    found, full = ra.lesion(network, small, until_width=1e-6), ra.lesion(network, small)
    assert (found["seen"] == 140).all()
    assert found.attrs["unit_evaluations_saved"] == 0
    assert "seen" not in full
    for name in ("error", "delta", "loss", "agreement", "kl"):
        assert found[name].to_numpy() == pytest.approx(full[name].to_numpy(), abs=1e-6)
    assert list(found.columns) == [*full.columns, "seen"]
    assert (found["delta_low"].iloc[1:] < full["delta_low"].iloc[1:]).all()


def said_of(unit: int, bands: list[Any], k: int) -> str:
    """Where a unit stands, by going through the others one at a time."""
    less = sum(other.high < bands[unit].low for other in bands)
    more = sum(other.low > bands[unit].high for other in bands)
    if less >= len(bands) - k:
        return "most"
    if more >= len(bands) - k:
        return "least"
    return "between" if less >= k and more >= k else "open"


def test_units_stop_once_the_most_and_the_least_needed_are_known(
    network: ResidualNetwork, data: Dataset
) -> None:
    k = 2
    with torch.no_grad():  # an intact error of 0, so that damages are far apart
        answers = network(data.batch(0, N)[0]).argmax(1)
    data = replace(data, labels=answers.numpy())
    found = ra.lesion(network, data, top=k, seed=3)
    routes = [intact(network), *(without(network, [unit]) for unit in range(6))]
    error = evaluate(network, routes, shuffled(data, 3)).values["error"]
    looks = [128]
    while looks[-1] < N:
        looks.append(min(int(looks[-1] * 1.25), N))
    going, seen, standing = set(range(6)), [0] * 6, ["open"] * 6
    for n in looks:
        for unit in going:
            seen[unit] = n
        bands = [
            difference_sequence(error[1 + u, : seen[u]], error[0, : seen[u]], level=1 - 0.05 / 6).row(0)
            for u in range(6)
        ]  # fmt: skip
        standing = [said_of(unit, bands, k) for unit in range(6)]
        going = {unit for unit in going if standing[unit] == "open"}
        if not going:
            break
    assert list(found["needed"]) == ["", *standing]
    assert list(found["seen"].iloc[1:]) == seen
    assert (standing[1], standing[4]) == ("least", "most")
    assert (found.attrs["top"], found.attrs["known"]) == (k, f"{6 - standing.count('open')} of 6")


def test_the_order_moves_labels_with_images(data: Dataset) -> None:
    mixed = shuffled(data, 1)
    assert sorted(mixed.indices) == list(range(N))
    assert not np.array_equal(mixed.indices, data.indices)
    x, y = Section(mixed, 10, 40).batch(5, 9)
    for place, example in enumerate(mixed.indices[15:19]):
        image, label = data.batch(example, example + 1)
        assert torch.equal(x[place], image[0])  # type: ignore[index, arg-type]
        assert y is not None
        assert label is not None
        assert y[place] == label[0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"metric": lambda *_: 0}, "--metric is not known"),
        ({"recalibrate": 20}, "--recalibrate is not known"),
        ({"replace": "mean"}, "--replace is not known"),
        ({"mean_over": 20}, "--mean-over is not known"),
        ({"until_width": 0.0}, "found 0"),
        ({"until_width": 2.5}, "found 2.5"),
        ({"until_width": float("nan")}, "found nan"),
        ({"until_width": None, "top": 0}, "at most 3, found 0"),
        ({"until_width": None, "top": 4}, "at most 3, found 4"),
        ({"until_width": None, "top": 2, "replace": "mean"}, "--top stops by"),
        ({"top": 2}, "two rules to stop by"),
    ],
)
def test_what_it_does_not_go_with(
    given: dict[str, Any], said: str, network: ResidualNetwork, data: Dataset
) -> None:
    with pytest.raises(ResanalysisError, match=said) as raised:
        ra.lesion(network, data, **{"until_width": 0.1, **given})
    assert "\n" not in str(raised.value)


def test_without_labels_there_is_no_error_to_stop_by(
    network: ResidualNetwork, data: Dataset
) -> None:
    with pytest.raises(ResanalysisError, match="examples without labels: leave it out"):
        ra.lesion(network, replace(data, labels=None), until_width=0.1)


def test_data_that_has_only_batches_cannot_be_put_in_order(
    network: ResidualNetwork, data: Dataset
) -> None:
    own: Any = Section(data, 0, 20)
    assert len(ra.lesion(network, own)) == 7
    with pytest.raises(ResanalysisError, match="Section cannot: leave it out"):
        ra.lesion(network, own, until_width=0.1)
