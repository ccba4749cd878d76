"""``resanalysis rearrange``: its options, what it writes, and what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from resanalysis.cli import app
from tests.conftest import cifar


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A random network of 12 units, and images labelled with its own answers."""
    folder = tmp_path_factory.mktemp("rearrange")
    images = np.random.default_rng(0).integers(0, 256, (24, 3, 16, 16), dtype=np.uint8)
    x = torch.from_numpy(images).float() / 255
    model = cifar(26)
    with torch.no_grad():
        model.linear.bias -= model(x).mean(0)
        labels = model(x).argmax(1).numpy()
    torch.save(model.state_dict(), folder / "tiny.pt")
    np.savez(folder / "tiny.npz", images=images, labels=labels)
    data = ["--data", str(folder / "tiny.npz"), "--normalize", "none"]
    return ["rearrange", str(folder / "tiny.pt"), *data]


def test_it_writes_the_table_the_figure_and_the_manifest(words: list[str], tmp_path: Path) -> None:
    options = ["--kinds", "shuffle, swap", "--sizes", "4..7", "--draws", "2", "--seed", "3"]
    result = CliRunner().invoke(app, [*words, *options, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    with (tmp_path / "rearrange.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    # The middle of four has one order beside the trained one: two draws of it would be one network twice.
    assert [row["kind"] for row in rows] == ["intact"] + ["shuffle"] * 3 + ["swap"] * 7
    assert [row["size"] for row in rows[:4]] == ["0", "4", "7", "7"]
    assert rows[1]["touched"] == "2"
    assert list(rows[0])[:8] == [
        "kind", "touched", "draw", "units", "order", "score", "score_low", "score_high",
    ]  # fmt: skip
    entry = json.loads((tmp_path / "manifest.json").read_text())["rearrange"]
    assert entry["files"] == ["rearrange.csv", "rearrange.pdf", "rearrange.png"]
    assert entry["options"]["kinds"] == ["shuffle", "swap"]
    assert entry["facts"]["left_out"] == [5, 6]
    assert entry["facts"]["measure"] == "accuracy"


def test_stage_measure_and_json(words: list[str], tmp_path: Path) -> None:
    options = ["--kinds", "skip", "--stage", "2", "--measure", "agreement", "--json", "--quiet"]
    result = CliRunner().invoke(app, [*words, *options, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["units"] for row in rows] == ["", "10", "10 11", "9 10 11"]


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--kinds", "skip,rotate"], 2, "choose from skip, reverse"),
        (["--kinds", " "], 2, "choose from skip, reverse"),
        (["--sizes", "few"], 2, "'few' is no number or range"),
        (
            ["--sizes", "11,12"],
            1,
            "no middle holds 11 or 12 units; there are middles of 1, 4, 7, 10",
        ),
        (["--stage", "5"], 1, "stages that have: 0, 1, 2"),
    ],
)
def test_what_it_refuses(
    words: list[str], options: list[str], code: int, text: str, tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, [*words, *options, "--out", str(tmp_path)])
    assert result.exit_code == code
    assert text in " ".join(result.output.replace("│", " ").split())
