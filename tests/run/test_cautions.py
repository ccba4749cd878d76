"""Notes that keep a user from believing a table: at chance, nothing altered, not the recorded error."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import resanalysis as ra
from resanalysis.checkpoint import DataRecord, ModelInfo, Preprocessing, load, save_checkpoint
from resanalysis.checkpoint.info import Recorded
from resanalysis.cli import app
from resanalysis.models.architecture import Architecture
from resanalysis.run.cautions import cautions, nothing_changed
from resanalysis.run.subject import Subject
from tests.conftest import cifar

N = 60
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 3, 8, 8), dtype=np.uint8)


def subject_with(answers: np.ndarray | None = None, recorded: Recorded | None = None) -> Subject:
    """A tiny network on images whose labels are its own answers, unless they are given."""
    model = cifar(8)
    data = ra.image_dataset(IMAGES, np.zeros(N, int), mean=[0.5] * 3, std=[0.25] * 3, name="d")
    example = data.batch(0, 8)[0]
    with torch.no_grad():  # untrained, it answers all images alike; centred logits do not
        model.get_parameter("linear.bias").sub_(model(data.batch(0, N)[0]).mean(0))
        own = model(data.batch(0, N)[0]).argmax(1).numpy()
    labels = own if answers is None else answers
    object.__setattr__(model, "resanalysis", ModelInfo("m", recorded=recorded))
    network = ra.unravel(model, example)
    return Subject(network, model, replace(data, labels=labels), example, "m", "d")


def wrong(subject: Subject, share: float) -> Subject:
    """The same, with a share of the labels another class."""
    data = subject.examples()
    assert data.labels is not None
    labels = data.labels.copy()
    labels[: int(share * N)] = (labels[: int(share * N)] + 1) % 5
    return replace(subject, data=replace(data, labels=labels))


def test_a_sound_network_has_no_note() -> None:
    subject = subject_with()
    assert cautions(subject, ra.lesion(subject.network, subject.examples())) == []


def test_at_chance() -> None:
    subject = wrong(subject_with(), 1.0)
    (note,) = cautions(subject, ra.lesion(subject.network, subject.examples()))
    assert note.startswith(
        "m is at chance: its error is 100.00 % on 60 examples (95 %: 94.0 to 100"
    )
    few = wrong(subject_with(), 0.5)
    few = replace(few, data=few.examples().limited(6))
    (note,) = cautions(few, ra.lesion(few.network, few.examples()))
    assert "cannot be told from chance" in note


@pytest.mark.parametrize("command", ["lesion_many", "prune", "scaling", "cka", "stream"])
def test_every_table_says_so(command: str) -> None:
    """Also one that has no error of the intact network: it is measured then."""
    subject = wrong(subject_with(), 1.0)
    small: dict[str, Any] = {
        "lesion_many": {"removed": (1, 2), "draws": 2},
        "prune": {"timing": 0, "orders": ["random"], "draws": 1},
    }
    table = getattr(ra, command)(subject.network, subject.examples(), **small.get(command, {}))
    assert any("is at chance" in note for note in cautions(subject, table))


@pytest.mark.parametrize(
    ("error", "n", "said"),
    [(0.0, 60, False), (0.1, 60, False), (0.5, 60, True), (0.1, 10, False), (0.25, 10_000, True)],
)
def test_not_as_recorded(error: float, n: int, said: bool) -> None:
    subject = subject_with(recorded=Recorded(error, n, "its test data"))
    notes = cautions(subject, ra.lesion(subject.network, subject.examples()))
    assert bool(notes) is said
    if said:
        assert notes[0].startswith(
            f"m records an error of {100 * error:.2f} % ({n:,} examples of its"
        )
        assert "and 0.00 % was measured on 60 of d; the difference is beyond chance" in notes[0]


def test_of_another_task_a_record_says_nothing() -> None:
    subject = subject_with(recorded=Recorded(0.9, 50_000, "ImageNet", classes=1000))
    assert cautions(subject, ra.lesion(subject.network, subject.examples())) == []


def test_no_route_differs() -> None:
    subject = subject_with()
    with torch.no_grad():
        for block in subject.module.modules():
            last = getattr(block, "bn2", None)
            if isinstance(last, nn.BatchNorm2d):
                last.weight.zero_()
                last.bias.zero_()
    network = ra.unravel(subject.module, subject.example)
    subject = replace(subject, network=network)
    still = [table for table in _tables(network, subject.examples()) if nothing_changed(table)]
    assert len(still) == 5
    notes = cautions(subject, still[0])
    assert any("m: no route differs from the intact network in one answer" in n for n in notes)
    whole = subject_with()
    assert not any(nothing_changed(table) for table in _tables(whole.network, whole.examples()))


def _tables(network: ra.ResidualNetwork, data: ra.Dataset) -> list[pd.DataFrame]:
    return [
        ra.lesion(network, data),
        ra.lesion_many(network, data, removed=(1, 2), draws=2),
        ra.scaling(network, data, factors=(0.0, 1.0)),
        ra.interactions(network, data),
        ra.effects(network, data),
    ]


def test_a_checkpoint_says_what_it_was(tmp_path: Path) -> None:
    """Of what was packed, what was measured, and how its training ended, the first that there is."""
    facts: dict[str, Any] = {
        "history": [{"test_error": 0.5}, {"test_error": 0.25}],
        "measured": {"test_error": 0.125, "n": 30, "data": "d"},
        "packed": {"score": {"error": 0.1, "n": 20}},
    }
    expected = (Recorded(0.1, 20, "t"), Recorded(0.125, 30, "d"), Recorded(0.25, 9, "t"), None)
    for wanted, name in zip(expected, ("packed", "measured", "history", ""), strict=True):
        path = save_checkpoint(
            tmp_path / "m.pt",
            cifar(8),
            architecture=Architecture("cifar_resnet", {"depth": 8, "width": 4, "classes": 5}),
            tested=DataRecord("t", "test", "0" * 64, 9),
            **facts,
        )
        found: Any = load(path).resanalysis
        assert found.recorded == wanted
        facts.pop(name, None)


@pytest.mark.parametrize(
    "facts",
    [
        {"packed": {"score": 3}},
        {"packed": {"score": {"error": 3, "n": 3}}},
        {"packed": {"score": {"error": 0.5, "n": True}}},
        {"measured": {"test_error": "none", "n": 3}},
        {"measured": {"test_error": 0.5}},
    ],
)
def test_a_damaged_record_is_said(tmp_path: Path, facts: dict[str, Any]) -> None:
    path = save_checkpoint(
        tmp_path / "m.pt",
        cifar(8),
        architecture=Architecture("cifar_resnet", {"depth": 8, "width": 4, "classes": 5}),
        **facts,
    )
    with pytest.raises(
        ra.CheckpointError, match=r"damaged resanalysis checkpoint: its (pack|measu)"
    ):
        load(path)


def test_notes_are_on_screen_and_in_the_manifest(tmp_path: Path) -> None:
    model = tmp_path / "m.pt"
    save_checkpoint(
        model,
        cifar(8),
        architecture=Architecture("cifar_resnet", {"depth": 8, "width": 4, "classes": 5}),
        preprocessing=Preprocessing((0.5,) * 3, (0.25,) * 3, (3, 8, 8)),
        packed={"score": {"error": 0.01, "n": 5000}},
    )
    np.savez(tmp_path / "d.npz", images=IMAGES, labels=np.arange(N) % 5)
    words = ["lesion", str(model), "--data", str(tmp_path / "d.npz"), "--out", str(tmp_path / "o")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    manifest = json.loads((tmp_path / "o" / "manifest.json").read_text())
    notes = manifest["lesion"]["facts"]["notes"]
    assert ["chance" in notes[0], "records an error of 1.00 %" in notes[1]] == [True, True]
    said = result.stderr.replace("\n", "")
    assert all(f"note: {note}" in said for note in notes)
