"""``--per-image`` and the options of image files, from the command line to the files that are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import resanalysis as ra
from resanalysis.checkpoint import Preprocessing, save_checkpoint
from resanalysis.cli import app
from resanalysis.datasets.pixels import Pixels
from resanalysis.models.architecture import Architecture
from resanalysis.run.manifest import damaged
from tests.conftest import cifar


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_checkpoint(
        tmp_path / "m.pt",
        cifar(8),
        architecture=Architecture("cifar_resnet", {"depth": 8, "width": 4, "classes": 5}),
        preprocessing=Preprocessing(
            (0.5,) * 3, (0.25,) * 3, (3, 16, 16), Pixels((16, 16), 20, "bicubic")
        ),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for number in range(10):
        place = tmp_path / "val" / f"class{number % 5}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (30, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
    return tmp_path / "val"


def run(out: Path, *words: object) -> tuple[str, dict[str, Any]]:
    result = CliRunner().invoke(app, [*map(str, words), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert damaged(out) == []
    return result.stderr, json.loads((out / "manifest.json").read_text())


def test_what_was_used_is_said_and_recorded(model: Path, folder: Path, tmp_path: Path) -> None:
    words = ("lesion", model, "--data", f"folder:{folder}")
    said, manifest = run(tmp_path / "a", *words)
    how = "short side to 20, middle 16×16, bicubic (recorded by the checkpoint)"
    assert how in said.replace("\n", " ")
    entry = manifest["lesion"]
    assert entry["facts"]["pixels"] == {
        "image_size": [16, 16],
        "resize": 20,
        "interpolation": "bicubic",
        "resized_as": "picture",
        "said_by": "recorded by the checkpoint",
    }
    _, other = run(tmp_path / "b", *words, "--crop", "1", "--interpolation", "bilinear")
    pixels = other["lesion"]["facts"]["pixels"]
    assert (pixels["resize"], pixels["interpolation"]) == (16, "bilinear")
    assert pixels["said_by"] == "--crop, --interpolation, recorded by the checkpoint"
    assert other["lesion"]["data_sha256"] != entry["data_sha256"]


@pytest.mark.saves_figures
def test_rows_per_example_are_files(model: Path, folder: Path, tmp_path: Path) -> None:
    words = ("lesion", model, "--data", f"folder:{folder}", "--per-image", "--width", 2.7)
    _, manifest = run(tmp_path / "a", *words)
    files = set(manifest["lesion"]["files"])
    beside = {
        f"lesion_{name}.{kind}"
        for name in ("classes", "borderline")
        for kind in ("csv", "pdf", "png")
    }
    assert files == {"lesion.csv", "lesion.pdf", "lesion.png", "lesion_images.csv"} | beside
    assert manifest["lesion"]["options"]["per_image"] is True
    with Image.open(tmp_path / "a" / "lesion_classes.png") as picture:
        assert picture.width == 810  # 2.7 in at 300 dots
    rows = pd.read_csv(tmp_path / "a" / "lesion_images.csv")
    table = pd.read_csv(tmp_path / "a" / "lesion.csv")
    means = rows.groupby("route")["correct"].mean()
    np.testing.assert_allclose(1 - means[table["route"]], table["error"], atol=1e-12)


@pytest.mark.parametrize("command", ["lesion_many", "prune"])
def test_the_other_commands_write_theirs(
    command: str, model: Path, folder: Path, tmp_path: Path
) -> None:
    more: dict[str, tuple[object, ...]] = {
        "lesion_many": ("lesion", "--remove", 1, "--draws", 2),
        "prune": ("prune", "--timing", 0, "--orders", "random", "--draws", 1),
    }
    name, *options = more[command]
    run(tmp_path / "a", name, model, "--data", f"folder:{folder}", "--per-image", *options)
    rows = pd.read_csv(tmp_path / "a" / f"{command}_images.csv")
    table = pd.read_csv(tmp_path / "a" / f"{command}.csv")
    assert set(table["route"]) <= set(rows["route"])
    at = rows.groupby("route")["loss"].mean()[table["route"]]
    np.testing.assert_allclose(at, table["loss"], rtol=1e-6)


def test_several_models_share_the_tables(model: Path, folder: Path, tmp_path: Path) -> None:
    data = f"folder:{folder}"
    run(tmp_path / "a", "lesion", f"x={model}", f"y={model}", "--data", data, "--per-image")
    for name in ("lesion_images", "lesion_classes", "lesion_borderline"):
        table = pd.read_csv(tmp_path / "a" / f"{name}.csv")
        assert table["model"].value_counts().nunique() == 1
        assert set(table["model"]) == {"x", "y"}


def test_statistics_from_other_data(model: Path, folder: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    other = tmp_path / "training.npz"
    np.savez(other, images=images, labels=np.arange(12) % 5)
    words = ("lesion", model, "--data", f"folder:{folder}", "--recalibrate", 8)
    _, manifest = run(tmp_path / "a", *words, "--calibrate-on", other)
    assert manifest["lesion"]["n"] == 10, "all of --data is measured"
    facts = manifest["lesion"]["facts"]
    assert facts["calibrate_on"] == str(other)
    table = pd.read_csv(tmp_path / "a" / "lesion.csv")
    network = ra.unravel(ra.load(model), torch.randn(2, 3, 16, 16))
    data = ra.dataset(other, mean=(0.5,) * 3, std=(0.25,) * 3).limited(8, 0)
    measured = ra.dataset(
        f"folder:{folder}",
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        image_size=16,
        crop=0.8,
        interpolation="bicubic",
    )
    routes = [ra.intact(network), *(ra.without(network, [unit]) for unit in range(3))]
    losses = ra.evaluate(network, routes, measured, calibration=data).mean("loss")
    assert table["loss_recalibrated"].to_numpy() == pytest.approx(losses, rel=1e-4)
    refused = CliRunner().invoke(app, [*map(str, words[:4]), "--calibrate-on", str(other)])
    assert refused.exit_code == 1
    assert "none are asked for" in refused.stderr.replace("\n", " ")
