"""Training by name: the checkpoint loads by itself, interrupted runs end the same."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from resanalysis.checkpoint import Preprocessing, load, read_checkpoint, save_checkpoint
from resanalysis.cli import app
from resanalysis.models.architecture import Architecture
from resanalysis.models.survival import survivals
from resanalysis.run.reading import Reading, read
from resanalysis.run.trained import channel_statistics
from resanalysis.training.state import TrainingState


def idx(path: Path, array: NDArray[np.uint8]) -> None:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">i4").tobytes()
    path.write_bytes(gzip.compress(header + array.tobytes()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen training and eight test images of 8 × 8 in Fashion-MNIST's format."""
    folder = tmp_path_factory.mktemp("mnist")
    random = np.random.default_rng(0)
    for stem, count in (("train", 16), ("t10k", 8)):
        images = random.integers(0, 256, (count, 8, 8), dtype=np.uint8)
        idx(folder / f"{stem}-images-idx3-ubyte.gz", images)
        idx(folder / f"{stem}-labels-idx1-ubyte.gz", (np.arange(count) % 10).astype(np.uint8))
    return folder


def train(folder: Path, out: Path, *words: str) -> Result:
    line = ["train", "--arch", "resnet8", "--data", f"fashion-mnist:{folder}", "--recipe", "he2015"]
    return CliRunner().invoke(app, [*line, "--epochs", "2", "--quiet", "--out", str(out), *words])


def test_a_trained_checkpoint_loads_by_itself(folder: Path, tmp_path: Path) -> None:
    result = train(folder, tmp_path, "--seed", "5")
    assert result.exit_code == 0, result.output
    model = load(tmp_path / "resnet8.pt")
    info: Any = model.resanalysis
    assert info.architecture == "resnet8"
    assert isinstance(info.preprocessing, Preprocessing)
    assert info.preprocessing.input_size == (1, 8, 8)
    assert len(info.classes) == 10
    rows = (tmp_path / "history.csv").read_text().splitlines()
    assert rows[0] == "epoch,rate,train_loss,train_error,test_error,seconds,step,run"
    assert len(rows) == 3
    entry = json.loads((tmp_path / "manifest.json").read_text())["train"]
    assert entry["seed"] == 5
    assert entry["n"] == 16
    assert entry["files"] == [
        "history.csv",
        "history.pdf",
        "history.png",
        "resnet8.pt",
    ]
    assert entry["options"]["recipe"]["epochs"] == 2.0
    assert not (tmp_path / ".partial").exists()


def test_a_trained_checkpoint_brings_its_test_data(folder: Path, tmp_path: Path) -> None:
    assert train(folder, tmp_path).exit_code == 0
    source = f"fashion-mnist:{folder}"
    for how, place in (
        (Reading(needs_data=True), "carried by the checkpoint"),
        (Reading(), "--data"),
    ):
        loaded = read(str(tmp_path / "resnet8.pt"), None if how.needs_data else source, how)
        assert loaded.data_from == place
        assert loaded.data is not None
        assert loaded.data.labels is not None
        assert loaded.data.labels.tolist() == list(range(8))
        record = read_checkpoint(tmp_path / "resnet8.pt")["test_data"]
        assert record == {"source": source, "split": "test", "sha256": loaded.data_sha256, "n": 8}


def test_a_trained_checkpoint_without_a_sample(folder: Path, tmp_path: Path) -> None:
    assert (
        train(folder, tmp_path, "--no-sample", "--epochs", "1", "--half-size", "0.5").exit_code == 0
    )
    record = read_checkpoint(tmp_path / "resnet8.pt")
    assert "sample" not in record
    assert (record["recipe"]["epochs"], record["recipe"]["half_size"]) == (1, 0.5)
    loaded = read(str(tmp_path / "resnet8.pt"), None, Reading(needs_data=True))
    assert loaded.data_from == "recorded by the checkpoint"
    assert loaded.source == f"fashion-mnist:{folder}"


def test_an_interrupted_training_ends_with_the_same_weights(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(folder, tmp_path / "whole").exit_code == 0
    save = TrainingState.save

    def stop(*arguments: Any) -> None:
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainingState, "save", stop)
    stopped = train(folder, tmp_path / "stopped")
    assert stopped.exit_code == 130
    assert "run the same command again to go on" in stopped.stderr
    monkeypatch.setattr(TrainingState, "save", save)
    assert train(folder, tmp_path / "stopped").exit_code == 0
    whole, resumed = (load(tmp_path / name / "resnet8.pt") for name in ("whole", "stopped"))
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_a_training_that_starts_from_trained_weights(folder: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first" / "resnet8.pt", tmp_path / "second"
    assert (
        train(
            folder, tmp_path / "first", "--width", "4", "--stochastic-depth", "uniform:1"
        ).exit_code
        == 0
    )
    line = ["train", "--start-from", str(first), "--data", f"fashion-mnist:{folder}"]
    line += ["--recipe", "he2015", "--epochs", "1", "--out", str(second), "--seed", "3"]
    # A rate that moves no weight: what it began with is what it ends with.
    result = CliRunner().invoke(app, [*line, "--rate", "1e-8", "--quiet"])
    assert result.exit_code == 0, result.output
    before, after = load(first).state_dict(), load(second / "resnet8.pt").state_dict()
    for name, value in before.items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(value, after[name], rtol=0, atol=1e-6)
    earlier, later = read_checkpoint(first), read_checkpoint(second / "resnet8.pt")
    assert later["recipe"]["learning_rate"] == 1e-8
    assert later["architecture"] == earlier["architecture"]
    began = later["began_with"]
    assert began["sha256"] == load(first).resanalysis.sha256
    assert (began["seed"], began["history"]) == (0, earlier["history"])
    assert set(pd.read_csv(second / "history.csv")["run"]) == {"resnet8, seed 3, continued"}
    # With a rate that does, it learns.
    result = CliRunner().invoke(app, [*line, "--rate", "0.01", "--fresh", "--quiet"])
    assert result.exit_code == 0, result.output
    assert not torch.equal(
        before["conv1.weight"], load(second / "resnet8.pt").state_dict()["conv1.weight"]
    )


def test_weights_that_a_training_cannot_start_from(folder: Path, tmp_path: Path) -> None:
    def start(source: str, *words: str) -> Result:
        line = ["train", "--start-from", source, "--data", f"fashion-mnist:{folder}", "--quiet"]
        return CliRunner().invoke(app, [*line, "--out", str(tmp_path / "out"), *words])

    result = start("bundled:resnet56-fashion-mnist", "--width", "8")
    assert result.exit_code == 2
    assert "--width" in result.stderr
    result = start(str(tmp_path / "none.pt"))
    assert result.exit_code == 1
    assert "none.pt" in result.stderr
    torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "state.pt")
    result = start(str(tmp_path / "state.pt"))
    assert result.exit_code == 1
    assert "is no checkpoint written by resanalysis" in result.stderr
    save_checkpoint(
        tmp_path / "three.pt",
        Architecture("cifar_resnet", {"depth": 8, "channels": 3}).make(),
        architecture=Architecture("cifar_resnet", {"depth": 8, "channels": 3}),
    )
    result = start(str(tmp_path / "three.pt"))
    assert result.exit_code == 1
    assert "three.pt: it is for 3 channels, and the data have 1" in result.stderr


def test_what_cannot_be_trained(folder: Path, tmp_path: Path) -> None:
    result = train(folder, tmp_path, "--arch", "resnet50")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: cannot train resnet50: it is for large images")
    assert "write cifar_resnet50" in result.stderr
    result = train(folder, tmp_path, "--arch", "resnet9")
    assert result.exit_code == 1
    assert "no CIFAR ResNet has depth 9" in result.stderr
    result = train(folder, tmp_path, "--data", "x.npz")
    assert result.exit_code == 1
    assert "x.npz has no test part of its own: name one with --test-data" in result.stderr


def test_channel_statistics() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 4), dtype=np.uint8)
    mean, std = channel_statistics(images)
    scaled = images.astype(np.float64) / 255
    assert mean == pytest.approx(scaled.mean((0, 2, 3)), abs=5e-5)
    assert std == pytest.approx(scaled.std((0, 2, 3)), abs=5e-5)
    constant = np.full((2, 1, 3, 3), 51, dtype=np.uint8)
    assert channel_statistics(constant) == ((0.2,), (1.0,))


def test_options_a_family_does_not_have(folder: Path, tmp_path: Path) -> None:
    result = train(folder, tmp_path, "--arch", "plain8", "--shortcut", "B")
    assert result.exit_code == 1
    assert (
        "cannot train plain8: it has no option shortcut B; it has channels, classes"
        in result.stderr
    )
    result = train(folder, tmp_path, "--arch", "plain8", "--stochastic-depth", "linear:0.5")
    assert result.exit_code == 1
    assert "cannot train plain8: it has no branches that could be left out" in result.stderr
    result = train(folder, tmp_path, "--train-units", "4")
    assert result.exit_code == 1
    assert "cannot train resnet8: 4 of its 3 units cannot run in a batch" in result.stderr
    result = train(folder, tmp_path, "--beside", str(tmp_path / "nowhere"))
    assert result.exit_code == 1
    assert "nowhere has no history.csv to draw beside" in result.stderr
    result = train(folder, tmp_path, "--precision", "float16")
    assert result.exit_code == 2
    assert "float16" in result.stderr
    result = train(folder, tmp_path, "--train-units", "2", "--stochastic-depth", "linear:0.5")
    assert result.exit_code == 2
    assert "both say which units run" in result.stderr


def test_stochastic_depth_is_recorded_and_paths_uses_it(folder: Path, tmp_path: Path) -> None:
    result = train(folder, tmp_path / "stochastic", "--stochastic-depth", "linear:0.4")
    assert result.exit_code == 0, result.output
    path = tmp_path / "stochastic" / "resnet8.pt"
    model = load(path)
    assert [end.probability for end in survivals(model)] == pytest.approx([0.8, 0.6, 0.4])
    line = ["paths", str(path), "--out", str(tmp_path / "paths"), "--json", "--quiet"]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 0, result.output
    rows = pd.read_csv(tmp_path / "paths" / "paths.csv")
    # A path that meets a branch which is present takes it every second time.
    assert rows["probability"].iloc[-1] == pytest.approx(0.4 * 0.3 * 0.2)
    assert rows["probability"].iloc[0] == pytest.approx(0.6 * 0.7 * 0.8)


def test_training_on_effective_paths(folder: Path, tmp_path: Path) -> None:
    result = train(folder, tmp_path, "--train-units", "2", "--shortcut", "C", "--width", "4")
    assert result.exit_code == 0, result.output
    model = load(tmp_path / "resnet8.pt")
    assert [end.probability for end in survivals(model)] == pytest.approx([2 / 3] * 3)
    assert "layer1.0.shortcut.0.weight" in model.state_dict()
    entry = json.loads((tmp_path / "manifest.json").read_text())["train"]
    assert entry["facts"]["paths_per_batch"] == 4
    assert entry["options"]["options"]["width"] == 4


@pytest.mark.saves_figures
def test_several_histories_and_gradient_norms(folder: Path, tmp_path: Path) -> None:
    assert train(folder, tmp_path / "residual").exit_code == 0
    words = ["--arch", "plain8", "--gradient-norms", "--beside", str(tmp_path / "residual")]
    result = train(folder, tmp_path / "plain", *words)
    assert result.exit_code == 0, result.output
    norms = pd.read_csv(tmp_path / "plain" / "gradient_norms.csv")
    assert list(norms["epoch"].unique()) == [0, 1, 2]
    assert norms.groupby("epoch")["layer"].count().tolist() == [8, 8, 8]
    assert bool((norms["norm_low"] <= norms["norm"]).all())
    assert bool((norms["norm"] <= norms["norm_high"]).all())
    history = pd.read_csv(tmp_path / "plain" / "history.csv")
    assert set(history["run"]) == {"plain8, seed 0"}, "the other's is drawn, not copied"
    for name in ("history.png", "gradient_norms.pdf"):
        assert (tmp_path / "plain" / name).stat().st_size > 1000
