"""``resanalysis prune``: its options, what it writes, and what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import resanalysis as ra
from resanalysis.cli import app
from resanalysis.experiments.prune import without_units
from tests.conftest import cifar


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A random network of 6 units, and images labelled with its own answers."""
    folder = tmp_path_factory.mktemp("prune")
    images = np.random.default_rng(0).integers(0, 256, (24, 3, 16, 16), dtype=np.uint8)
    x = torch.from_numpy(images).float() / 255
    model = cifar(14)
    with torch.no_grad():
        model.linear.bias -= model(x).mean(0)
        labels = model(x).argmax(1).numpy()
    torch.save(model.state_dict(), folder / "tiny.pt")
    np.savez(folder / "tiny.npz", images=images, labels=labels)
    data = ["--data", str(folder / "tiny.npz"), "--normalize", "none", "--timing", "0"]
    return ["prune", str(folder / "tiny.pt"), *data]


def test_it_writes_the_table_the_figure_and_the_manifest(words: list[str], tmp_path: Path) -> None:
    options = ["--orders", "greedy, random", "--draws", "2", "--until", "3", "--seed", "3"]
    result = CliRunner().invoke(app, [*words, *options, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    with (tmp_path / "prune.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["order"] for row in rows] == ["intact"] + ["greedy"] * 3 + ["random"] * 6
    assert [len(row["units"].split()) for row in rows] == [0, 1, 2, 3, 1, 2, 3, 1, 2, 3]
    assert rows[1]["speedup"] == ""
    entry = json.loads((tmp_path / "manifest.json").read_text())["prune"]
    assert entry["files"] == ["prune.csv", "prune.pdf", "prune.png"]
    assert entry["options"]["orders"] == ["greedy", "random"]
    assert entry["facts"]["n"] == entry["facts"]["n_calibration"] == 12
    assert "intact error" in result.output
    errors = {
        order: np.array([[float(r["error"]) for r in rows if r["order"] == order and r["draw"] == draw]
                         for draw in draws])
        for order, draws in (("greedy", "0"), ("random", "01"))
    }  # fmt: skip
    behind = 100 * (np.median(errors["random"], axis=0) - errors["greedy"][0]).mean()
    said = " ".join(result.output.split())
    more = "more" if behind > 0 else "less"
    assert (
        f"random instead of greedy {abs(behind):.2f} points {more} error, mean over 1 to 3 removed"
        in said
    )
    assert not (tmp_path / ".partial").exists()


def test_the_model_without_units_is_written_and_loads(words: list[str], tmp_path: Path) -> None:
    options = ["--orders", "influence,greedy", "--remove", "2", "--follow", "influence", "--json"]
    result = CliRunner().invoke(app, [*words, *options, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    (row,) = (row for row in rows if row["order"] == "influence" and row["removed"] == 2)
    record = json.loads((tmp_path / "shortened.json").read_text())
    assert sorted(gone["unit"] for gone in record["removed"]) == [
        int(u) for u in row["units"].split()
    ]
    assert record["removed"][-1]["unit"] == row["unit"]
    assert (record["order"], record["drop"]) == ("influence", pytest.approx(row["delta"]))
    entry = json.loads((tmp_path / "manifest.json").read_text())["prune"]
    assert set(entry["files"]) > {"shortened.pt2", "shortened.pt", "shortened.json"}
    data = ra.dataset(words[3], normalize="none")
    model, x = ra.load(words[1]), data.batch(0, 4)[0]
    network = ra.unravel(model, x)
    assert isinstance(x, torch.Tensor)
    with torch.no_grad():
        expected = ra.shortened(network, [gone["unit"] for gone in record["removed"]])(x)
        torch.testing.assert_close(ra.load(tmp_path / "shortened.pt2")(x), expected)


def test_spans_go_and_a_map_is_in_their_place(words: list[str], tmp_path: Path) -> None:
    options = [
        "--orders",
        "span,lesion",
        "--remove",
        "2",
        "--follow",
        "span",
        "--replace",
        "linear",
    ]
    result = CliRunner().invoke(app, [*words, *options, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    entry = json.loads((tmp_path / "manifest.json").read_text())["prune"]
    assert entry["options"]["replace"] == entry["facts"]["replace"] == "linear"
    with (tmp_path / "prune.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    (row,) = (row for row in rows if row["order"] == "span" and row["removed"] == "2")
    units = [int(unit) for unit in row["units"].split()]
    record = json.loads((tmp_path / "shortened.json").read_text())
    assert [gone["unit"] for gone in record["removed"]] == units
    assert record["replace"] == "linear"
    assert not (tmp_path / "shortened.pt").exists()
    (line,) = (text for text in result.output.splitlines() if text.startswith("lesion: "))
    went = [row["unit"] for row in rows if row["order"] == "lesion"]
    assert line == f"lesion: {','.join(went)}"
    data = ra.dataset(words[3], normalize="none")
    x, _ = data.batch(0, 24)
    network = ra.unravel(ra.load(words[1]), x)
    made = without_units(network, data, units, replace="linear")
    assert isinstance(x, torch.Tensor)
    with torch.no_grad():
        torch.testing.assert_close(
            ra.load(tmp_path / "shortened.pt2")(x), made(x), rtol=1e-3, atol=1e-4
        )


def test_nothing_is_written_where_nothing_qualifies(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "shortened.pt2").write_text("mine")
    # Labels are the network's own answers: its error is 0, and every deletion of branches costs.
    options = ["--orders", "random", "--follow", "random", "--max-drop", "0", "--until", "1"]
    for seed in range(20):
        arguments = [*words, *options, "--seed", str(seed), "--out", str(tmp_path)]
        result = CliRunner().invoke(app, arguments)
        if result.exit_code == 1:
            break
        (tmp_path / "shortened.pt2").write_text("mine")
    assert result.exit_code == 1
    assert (
        "error: no number of units in the order random costs 0 or less: the least" in result.output
    )
    assert (tmp_path / "shortened.pt2").read_text() == "mine"
    assert (tmp_path / "prune.csv").is_file()


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--orders", "greedy,best"], 2, "choose from greedy, lesion, interactions, span"),
        (["--orders", " "], 2, "choose from greedy, lesion"),
        (["--remove", "1", "--max-drop", "0.1"], 2, "both say how many units go: give one"),
        (["--remove", "1", "--follow", "gate"], 2, "--follow gate: it is not among the orders"),
        (["--orders", "random", "--remove", "9"], 2, "--follow greedy: it is not among"),
        (["--replace", "zero"], 2, "'nothing', 'linear'"),
        (["--by", "accuracy"], 2, "'loss', 'error', 'kl'"),
        (["--orders", "gate"], 1, "has no gate to order its units by; it has influence"),
        (["--calibration", "0.01"], 1, "give a calibration between 0 and 1"),
    ],
)
def test_what_it_refuses(
    words: list[str], options: list[str], code: int, text: str, tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, [*words, *options, "--out", str(tmp_path)])
    assert result.exit_code == code
    assert text in " ".join(result.output.replace("│", " ").split())
