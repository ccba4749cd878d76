"""``resanalysis gradients``: the heat map beside the table, the default subset, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from resanalysis.cli import app
from resanalysis.models.cifar_resnet import CifarResNet


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("gradients")
    torch.save(CifarResNet(14, classes=10).state_dict(), folder / "tiny.pt")
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 8, 8), dtype=np.uint8)
    np.savez(folder / "tiny.npz", images=images, labels=np.arange(40) % 10)
    model, data = str(folder / "tiny.pt"), str(folder / "tiny.npz")
    return ["gradients", model, "--data", data, "--normalize", "none"]


def test_units_writes_a_second_table_and_figure(words: list[str], tmp_path: Path) -> None:
    options = ["--method", "exact,rms", "--repetitions", "2", "--units", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, [*words, *options])
    assert result.exit_code == 0, result.output
    for stem in ("gradients", "unit_share"):
        assert {f"{stem}.csv", f"{stem}.pdf", f"{stem}.png"} <= {p.name for p in tmp_path.iterdir()}
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["gradients"]["n"] == manifest["unit_share"]["n"] == 32
    assert manifest["gradients"]["options"]["method"] == ["exact", "rms"]
    header = (tmp_path / "unit_share.csv").read_text().splitlines()[0]
    assert header.startswith("unit,name,stage,transition,length,share")
    assert "effective lengths, exact sum" in result.output
    assert "gradient through unit" in result.output


def test_a_limit_replaces_the_default_and_json_is_printed(words: list[str], tmp_path: Path) -> None:
    options = [
        "--limit",
        "10",
        "--method",
        "exact",
        "--double",
        "--at",
        "first-unit",
        "--json",
        "--quiet",
    ]
    result = CliRunner().invoke(app, [*words, *options, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["count"] for row in rows] == [1, 6, 15, 20, 15, 6, 1]
    assert sum(row["signed_share"] for row in rows) == pytest.approx(1, abs=1e-9)
    assert rows[0]["mean_norm"] is None
    entry = json.loads((tmp_path / "manifest.json").read_text())["gradients"]
    assert entry["n"] == 10
    assert entry["options"]["at"] == "first-unit"
    assert entry["options"]["dtype"] == "float64"


def test_an_unknown_method_is_a_usage_error(words: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [*words, "--method", "exact,fast", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "'fast' is not one of exact, sampled and rms" in " ".join(result.output.split()).replace(
        "│ ", ""
    )
    assert not list(tmp_path.iterdir())
