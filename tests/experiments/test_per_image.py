"""Rows per example: their means are the table's, and each is what a whole pass by hand gives."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import resanalysis as ra
from resanalysis.errors import ResanalysisError
from resanalysis.experiments import EXPERIMENTS, experiment_named
from resanalysis.network import ResidualNetwork
from resanalysis.run.subject import Subject
from resanalysis.statistics.significance import mcnemar_exact
from tests.conftest import cifar

N = 40
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 3, 8, 8), dtype=np.uint8)
SMALL: dict[str, dict[str, Any]] = {
    "lesion_many": {"removed": (1, 2), "draws": 3},
    "reorder": {"draws": 4},
    "rearrange": {"draws": 1, "measure": "agreement"},
    "prune": {"timing": 0, "draws": 2, "orders": ["greedy", "random"]},
}


@pytest.fixture(scope="module")
def subject() -> Subject:
    model = cifar(14)
    data = ra.image_dataset(
        IMAGES, np.arange(N) % 3, mean=[0.5] * 3, std=[0.25] * 3, classes=["a", "b", "c", "d", "e"]
    )
    with torch.no_grad():  # an untrained network answers all images alike; centred logits do not
        model.get_parameter("linear.bias").sub_(model(data.batch(0, N)[0]).mean(0))
    data = data.limited(30, seed=1)  # so that an example's number is not its place
    return Subject(ra.unravel(model, data.batch(0, 8)[0]), model, data, data.batch(0, 8)[0], "tiny")


def tables_of(subject: Subject, stem: str) -> dict[str, pd.DataFrame]:
    return experiment_named(stem).measure(subject, **SMALL.get(stem, {}), seed=3, per_image=True)


@pytest.mark.parametrize("stem", [one.stem for one in EXPERIMENTS if one.per_image])
def test_means_are_the_tables(subject: Subject, stem: str) -> None:
    tables = tables_of(subject, stem)
    table, rows = tables[stem], tables[f"{stem}_images"]
    columns = ["route", "example", "label", "prediction", "correct", "loss", "kl", "entropy"]
    assert list(rows) == columns
    alone = experiment_named(stem).measure(subject, **SMALL.get(stem, {}), seed=3)[stem]
    pd.testing.assert_frame_equal(table.drop(columns="route"), alone)
    means = rows.astype(float).groupby("route").mean()
    assert (rows.groupby("route").size() == table.attrs["n"]).all()
    at = means.loc[table["route"]]
    np.testing.assert_allclose(1 - at["correct"], table["error"], atol=1e-12)
    np.testing.assert_allclose(at["loss"], table["loss"], rtol=1e-12)
    if "kl" in table:
        np.testing.assert_allclose(at["kl"], table["kl"], atol=1e-12)
    intact = rows.loc[rows["route"] == 0, "prediction"].to_numpy()
    same = rows["prediction"].to_numpy().reshape(-1, len(intact)) == intact
    np.testing.assert_allclose(same.mean(1)[table["route"]], table["agreement"], atol=1e-7)
    assert (rows["correct"] == (rows["prediction"] == rows["label"])).all()
    every = subject.examples()
    labels = dict(zip(every.indices, every.labels, strict=True))  # type: ignore[arg-type]
    assert (rows["label"] == rows["example"].map(labels)).all()


def test_a_row_by_hand(subject: Subject) -> None:
    rows = tables_of(subject, "lesion")["lesion_images"]
    inputs, labels = subject.examples().batch(0, 30)
    assert isinstance(inputs, torch.Tensor)
    assert labels is not None
    for route in (0, 3):
        with torch.no_grad():
            logits = _without(subject.network, inputs, None if route == 0 else route - 1).double()
        found = rows.loc[rows["route"] == route]
        assert found["example"].tolist() == subject.examples().indices.tolist()
        assert found["prediction"].tolist() == logits.argmax(1).tolist()
        loss = F.cross_entropy(logits, labels, reduction="none")
        np.testing.assert_allclose(found["loss"], loss, atol=1e-4)
        probability = logits.softmax(1)
        entropy = -(probability * probability.log()).sum(1)
        np.testing.assert_allclose(found["entropy"], entropy, atol=1e-4)


def _without(network: ResidualNetwork, x: torch.Tensor, gone: int | None) -> torch.Tensor:
    h, side = network.enter(x)
    for unit in network.units:
        skip = unit.skip(h, *side)
        h = unit.join(skip if unit.index == gone else skip + unit.branch(h, *side), *side)
    return network.leave(h, side)


def test_damage_by_class(subject: Subject) -> None:
    tables = tables_of(subject, "lesion")
    rows, found = tables["lesion_images"], tables["lesion_classes"]
    assert set(found["class_name"]) == {"a", "b", "c"}
    assert len(found) == 3 * len(subject.network)
    for cell in found.to_dict("records"):
        here = rows.loc[rows["label"] == cell["class"]]
        error = {
            route: (~here.loc[here["route"] == route, "correct"]).to_numpy(float)
            for route in (0, cell["unit"] + 1)
        }
        intact, deleted = error[0], error[cell["unit"] + 1]
        assert cell["n"] == len(intact)
        assert cell["delta"] == pytest.approx(deleted.mean() - intact.mean(), abs=1e-12)
        assert cell["delta_low"] < cell["delta"] < cell["delta_high"]
        assert cell["p_value"] == mcnemar_exact(deleted, intact)
        assert cell["p_fdr"] >= cell["p_value"]
    # Damages of classes, weighted by their size, are the damage of all.
    together = (found["delta"] * found["n"]).groupby(found["unit"]).sum() / 30
    lesion = tables["lesion"].set_index("unit")["delta"].drop(-1)
    np.testing.assert_allclose(together, lesion, atol=1e-12)


def test_borderline_examples(subject: Subject) -> None:
    tables = tables_of(subject, "lesion")
    rows, found = tables["lesion_images"], tables["lesion_borderline"]
    assert len(found) == 30
    assert found["flips"].is_monotonic_decreasing
    assert found["flips"].iloc[0] > 0
    for line in found.to_dict("records"):
        own = rows.loc[rows["example"] == line["example"]].set_index("route")["prediction"]
        flipped = [unit for unit in range(len(subject.network)) if own[unit + 1] != own[0]]
        assert line["units"] == " ".join(map(str, flipped))
        assert (line["flips"], line["of"]) == (len(flipped), len(subject.network))
        assert line["prediction"] == own[0]
    pictures = found.attrs["pictures"]
    assert len(pictures) == 24
    for example, content in zip(found["example"], pictures, strict=False):
        image = np.asarray(Image.open(io.BytesIO(content)))
        assert np.array_equal(image.transpose(2, 0, 1), IMAGES[example])


def test_without_labels_there_are_no_classes(subject: Subject) -> None:
    bare = ra.Answers()
    data = ra.image_dataset(IMAGES, None, mean=[0.5] * 3, std=[0.25] * 3)
    table = ra.lesion(subject.network, data, answers=bare)
    rows = ra.image_rows(bare)
    assert list(rows) == ["route", "example", "prediction", "kl", "entropy"]
    assert ra.class_damage(bare, table) is None
    flips = ra.borderline(bare, table)
    assert flips is not None
    assert list(flips) == ["example", "prediction", "entropy", "flips", "of", "units"]
    with pytest.raises(ResanalysisError, match=r"these answers are of another experiment"):
        ra.lesion(subject.network, data, answers=bare)
    with pytest.raises(ResanalysisError, match=r"no experiment has kept its answers here"):
        ra.image_rows(ra.Answers())


def test_an_own_metric_is_kept_too(subject: Subject) -> None:
    answers = ra.Answers()
    table = ra.lesion(
        subject.network, subject.examples(), metric=lambda out, *_: out[:, 0], answers=answers
    )
    rows = ra.image_rows(answers)
    means = rows.groupby("route")["metric"].mean()
    np.testing.assert_allclose(means[table["route"]], table["metric"], rtol=1e-5)
