"""``interactions``, ``shapley`` and ``scaling``: what they write, what they say, what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import resanalysis as ra
from resanalysis.cli import app
from tests.conftest import cifar


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A random network of 3 units and 16 labelled images."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16, 3, 8, 8), dtype=np.uint8)
    torch.save(cifar(8).state_dict(), folder / "tiny.pt")
    np.savez(folder / "tiny.npz", images=images, labels=rng.integers(0, 5, 16))
    return [str(folder / "tiny.pt"), "--data", str(folder / "tiny.npz"), "--normalize", "none"]


@pytest.mark.parametrize(
    ("command", "options", "rows"),
    [
        ("interactions", [], 3),
        ("shapley", [], 3),
        ("shapley", ["--orders", "6", "--by", "error"], 3),
        ("scaling", ["--factors", "0, 0.5, 1"], 3),
        ("scaling", [], 16),
    ],
)
def test_it_writes_table_figure_and_manifest(
    words: list[str], tmp_path: Path, command: str, options: list[str], rows: int
) -> None:
    line = [command, *words, *options, "--seed", "3", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 0, result.output
    assert len(pd.read_csv(tmp_path / f"{command}.csv")) == rows
    entry = json.loads((tmp_path / "manifest.json").read_text())[command]
    beside = ["scaling_orders.csv"] if command == "scaling" else []
    assert entry["files"] == [f"{command}.csv", *beside, f"{command}.pdf", f"{command}.png"]
    assert entry["facts"]["n"] == 16
    if command == "interactions":
        assert set(entry["facts"]["explained"]) == {"loss", "margin", "error"}
    if options[:1] == ["--orders"]:
        assert (entry["options"]["orders"], entry["facts"]["by"]) == (6, "error")


def test_two_models_stand_side_by_side(words: list[str], tmp_path: Path) -> None:
    for command, x in (("shapley", "unit"), ("scaling", "factor")):
        models = [f"one={words[0]}", f"two={words[0]}"]
        line = [command, *models, *words[1:], "--quiet", "--out", str(tmp_path)]
        result = CliRunner().invoke(app, line)
        assert result.exit_code == 0, result.output
        table = pd.read_csv(tmp_path / f"{command}.csv")
        assert set(table["model"]) == {"one", "two"}
        assert x in table


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (["scaling", "--factors", "a,b"], "--factors 'a,b' is no list of numbers"),
        (["shapley", "--orders", "5"], "give an even number of at least 4, got 5"),
    ],
)
def test_what_it_refuses(words: list[str], tmp_path: Path, line: list[str], text: str) -> None:
    result = CliRunner().invoke(app, [line[0], *words, *line[1:], "--out", str(tmp_path)])
    assert result.exit_code != 0
    said = " ".join((result.output + str(result.exception)).split())
    assert text in said
    assert not list(tmp_path.glob("*.csv"))


def test_the_report_has_them_where_they_apply(words: list[str]) -> None:
    from types import SimpleNamespace

    from resanalysis.experiments import experiment_named

    data = ra.dataset(words[2], normalize="none")
    network = ra.unravel(cifar(8), data.batch(0, 2)[0])

    def chosen(stem: str, **changes: object) -> object:
        subject = SimpleNamespace(**{"network": network, "data": data, **changes})
        return experiment_named(stem).in_report(subject)

    many = SimpleNamespace(units=network.units * 11)
    unlabelled = ra.image_dataset(np.zeros((4, 3, 8, 8), np.uint8), None, mean=[0] * 3, std=[1] * 3)
    assert chosen("interactions") == {}
    assert chosen("interactions", network=many) is None
    assert chosen("interactions", data=unlabelled) is None
    assert chosen("shapley") == {"orders": 10}
    assert chosen("shapley", data=unlabelled) is None
    assert chosen("scaling", data=unlabelled) == {}
