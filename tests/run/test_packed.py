"""One file for a model and its data: same weights, same numbers, nothing written that differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner, Result

from resanalysis.checkpoint import CheckpointError, load, read_checkpoint
from resanalysis.cli import app
from resanalysis.errors import ResanalysisError
from resanalysis.run.packed import pack
from resanalysis.run.reading import Reading
from tests.conftest import cifar

IMAGENET = Reading(normalize="imagenet")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bare state dict, and forty images of its five classes, in the current folder."""
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": cifar(14).state_dict()}, "bare.th")
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 16, 16), dtype=np.uint8)
    np.savez("test.npz", images=images, labels=np.arange(40) % 5)
    return "bare.th"


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_the_numbers_are_those_of_the_original(model: str) -> None:
    line = ["pack", model, "--data", "test.npz", "--normalize", "imagenet", "--out", "model.pt"]
    result = run(*line, "--classes", "a,b,c,d,e")
    assert result.exit_code == 0, result.output
    assert "bare.th: resnet14, " in result.stderr
    assert "40 examples of test.npz" in result.stderr
    assert "written: model.pt" in result.stdout
    original = ["lesion", model, "--data", "test.npz", "--normalize", "imagenet"]
    assert run(*original, "--out", "original").exit_code == 0
    assert run("lesion", "model.pt", "--out", "packed").exit_code == 0
    assert Path("packed/lesion.csv").read_bytes() == Path("original/lesion.csv").read_bytes()
    info: Any = load("model.pt").resanalysis
    assert info.classes == tuple("abcde")
    assert info.architecture == "resnet14"
    assert info.preprocessing.mean == (0.485, 0.456, 0.406)
    assert info.preprocessing.input_size == (3, 16, 16)


def test_the_score_is_that_of_a_plain_loop(model: str) -> None:
    packed = pack(model, "test.npz", Path("model.pt"), IMAGENET)
    with np.load("test.npz") as arrays:
        images, labels = arrays["images"], arrays["labels"]
    wrong, losses = 0, []
    for image, label in zip(images, labels, strict=True):
        pixels = [(image[c] / 255 - m) / s for c, m, s in zip(range(3), (0.485, 0.456, 0.406),
                  (0.229, 0.224, 0.225), strict=True)]  # fmt: skip
        with torch.no_grad():
            logits = load(model)(torch.tensor(np.stack(pixels)[None], dtype=torch.float32))[0]
        wrong += int(logits.argmax()) != label
        losses.append(-torch.log_softmax(logits.double(), 0)[label].item())
    assert packed.score["n"] == 40
    assert packed.score["error"] == wrong / 40
    assert packed.score["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    record = read_checkpoint("model.pt")
    assert record["packed"]["score"] == packed.score
    assert record["packed"]["model"] == "bare.th"
    assert record["test_data"]["n"] == 40


def test_a_limit_says_how_many_are_kept(model: str) -> None:
    packed = pack(model, "test.npz", Path("model.pt"), Reading(normalize="imagenet", limit=10))
    assert (packed.examples, packed.tested.n) == (10, 40)
    info: Any = load("model.pt").resanalysis
    assert np.bincount(info.sample.labels).tolist() == [2] * 5
    assert info.sample.chosen == "stratified subset of 10 from 40, seed 0"


def test_a_packed_model_can_be_packed_again(model: str) -> None:
    first = pack(model, "test.npz", Path("model.pt"), IMAGENET)
    again = pack("model.pt", None, Path("model.pt"), Reading(), classes=list("vwxyz"))
    assert again.tested == first.tested
    assert again.score == first.score
    info: Any = load("model.pt").resanalysis
    assert info.classes == tuple("vwxyz")
    assert len(info.sample.images) == 40


def test_without_a_sample_only_the_place_is_recorded(model: str) -> None:
    result = run(
        *("pack", model, "--data", "test.npz", "--normalize", "imagenet"),
        *("--no-sample", "--out", "model.pt"),
    )
    assert result.exit_code == 0, result.output
    assert "no examples of test.npz" in result.stderr
    info: Any = load("model.pt").resanalysis
    assert info.sample is None
    result = run("lesion", "model.pt", "--out", "results")
    assert result.exit_code == 0, result.output
    assert "40 examples of test.npz, recorded by the checkpoint" in result.stderr


def test_a_model_of_torchvision(model: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    np.savez("few.npz", images=images)
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="random weights"):
        packed = pack("torchvision:resnet18?weights=none", "few.npz", Path("m.pt"), IMAGENET)
    assert packed.architecture == "torchvision:resnet18"
    assert packed.score == {}
    info: Any = load("m.pt").resanalysis
    assert info.sample.labels is None


def test_what_has_no_name_is_not_packed(model: str) -> None:
    factory = "python:tests.checkpoint.test_checkpoint:make_model"
    with pytest.raises(
        CheckpointError, match=r"CifarResNet has no name, so what it computes is code"
    ):
        pack(factory, "test.npz", Path("model.pt"), IMAGENET)
    assert not Path("model.pt").exists()


def test_a_model_that_would_load_as_another_is_not_written(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("model.pt").write_text("before")

    def other(path: Path) -> torch.nn.Module:
        found = load(path)
        found.register_forward_hook(lambda module, inputs, output: output + 1e-6)
        return found

    monkeypatch.setattr("resanalysis.run.packed.load", other)
    with pytest.raises(
        CheckpointError, match=r"model.pt was not written: its architecture by name"
    ):
        pack(model, "test.npz", Path("model.pt"), IMAGENET)
    assert Path("model.pt").read_text() == "before"
    assert sorted(p.name for p in Path().iterdir()) == ["bare.th", "model.pt", "test.npz"]


@pytest.mark.parametrize(
    ("out", "classes", "message"),
    [
        (".", None, r"--out \. is a folder; name a file in it"),
        ("model.pt2", None, r"a \.pt2 file is of another kind; call it model\.pt"),
        ("model.pt", ["a", "b"], "--classes names 2 classes, and bare.th has 5 outputs"),
    ],
)
def test_what_cannot_be_packed(
    model: str, out: str, classes: list[str] | None, message: str
) -> None:
    with pytest.raises(ResanalysisError, match=message):
        pack(model, "test.npz", Path(out), IMAGENET, classes=classes)


def test_labels_of_another_task(model: str) -> None:
    images = np.zeros((6, 3, 16, 16), dtype=np.uint8)
    images[:, 0, 0, 0] = 255
    np.savez("other.npz", images=images, labels=np.arange(6) + 3)
    with pytest.raises(
        ResanalysisError, match="labels run from 3 to 8, the model has outputs 0 to 4"
    ):
        pack(model, "other.npz", Path("model.pt"), IMAGENET)


def test_class_names_of_a_file(model: str) -> None:
    Path("classes.txt").write_text("great white shark, white shark\nb\n\nc\nd\ne\n")
    line = ["pack", model, "--data", "test.npz", "--normalize", "imagenet", "--out", "model.pt"]
    assert run(*line, "--quiet", "--classes", "classes.txt").stdout == ""
    info: Any = load("model.pt").resanalysis
    assert info.classes[0] == "great white shark, white shark"
    assert run(*line, "--classes", " , ").exit_code == 2


@pytest.mark.nightly
def test_the_real_network_packs_and_measures_the_same(shared: Path, tmp_path: Path) -> None:
    """The published ResNet-20 on the images of its own sample, from both files."""
    data = shared / "data" / "cifar10" / "cifar10_test_first1017.npz"
    file = shared / "models" / "cifar10" / "resnet20-12fca82f.th"
    if not data.is_file() or not file.is_file():
        pytest.skip(
            "needs the published ResNet-20 and CIFAR-10 images, which the project does not ship"
        )
    packed = pack(
        str(file), str(data), tmp_path / "model.pt", Reading(normalize="imagenet", limit=30)
    )
    info: Any = load(tmp_path / "model.pt").resanalysis
    np.savez(tmp_path / "sample.npz", images=info.sample.images, labels=info.sample.labels)
    line = ["lesion", str(file), "--data", str(tmp_path / "sample.npz"), "--normalize", "imagenet"]
    assert run(*line, "--out", str(tmp_path / "a")).exit_code == 0
    assert run("lesion", str(tmp_path / "model.pt"), "--out", str(tmp_path / "b")).exit_code == 0
    tables = [pd.read_csv(tmp_path / name / "lesion.csv") for name in "ab"]
    pd.testing.assert_frame_equal(tables[0], tables[1], check_exact=True)
    assert packed.examples == 30
    assert packed.score["error"] < 0.2
