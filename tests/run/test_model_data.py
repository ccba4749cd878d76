"""Which data a model is measured on: named, carried, found again, or none, and the manifest says so."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from resanalysis.checkpoint import DataRecord, Preprocessing, sample_of, save_checkpoint
from resanalysis.cli import app
from resanalysis.datasets import Dataset, dataset
from resanalysis.errors import LeftOutError
from resanalysis.models.architecture import Architecture
from resanalysis.run.reading import Loaded, Reading, read
from resanalysis.run.several import read_several
from tests.conftest import cifar

TINY = Architecture("cifar_resnet", {"depth": 8, "width": 4, "classes": 5})
HALF = Preprocessing((0.5,) * 3, (0.25,) * 3, (3, 8, 8))
WANTED = Reading(needs_data=True)


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty images of five classes in the current folder."""
    monkeypatch.chdir(tmp_path)
    return arrays("test.npz", seed=0)


def arrays(name: str, seed: int) -> Path:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (20, 3, 8, 8), dtype=np.uint8)
    np.savez(name, images=pixels, labels=np.arange(20) % 5)
    return Path(name)


def of(path: str | Path) -> Dataset:
    return dataset(path, mean=HALF.mean, std=HALF.std)


def checkpoint(name: str, *, source: str | None = None, sample: Path | None = None) -> str:
    """A checkpoint that records test.npz under a name, and carries a sample of a file."""
    tested = None if source is None else DataRecord(source, "test", of("test.npz").sha256, 20)
    carried = None if sample is None else sample_of(of(sample), 10**6)
    options = {"architecture": TINY, "preprocessing": HALF}
    save_checkpoint(name, cifar(8), **options, tested=tested, sample=carried)  # type: ignore[arg-type]
    return name


def batch_of(loaded: Loaded) -> torch.Tensor:
    assert loaded.data is not None
    found = loaded.data.batch(0, len(loaded.data))[0]
    assert isinstance(found, torch.Tensor)
    return found


def test_the_sample_is_what_the_file_had(images: Path) -> None:
    loaded = read(checkpoint("m.pt", source="test.npz", sample=images), None, WANTED)
    assert (loaded.source, loaded.data_from) == (
        "the sample of test.npz",
        "carried by the checkpoint",
    )
    named = read("m.pt", "test.npz", WANTED)
    assert (named.source, named.data_from) == ("test.npz", "--data")
    assert torch.equal(batch_of(loaded), batch_of(named))


def test_data_that_is_named_wins(images: Path) -> None:
    other = arrays("other.npz", seed=1)
    checkpoint("m.pt", source="test.npz", sample=images)
    loaded = read("m.pt", str(other), WANTED)
    assert loaded.source == "other.npz"
    assert torch.equal(batch_of(loaded), of(other).batch(0, 20)[0])  # type: ignore[arg-type]


def test_a_limit_and_a_normalisation_count_for_the_sample_too(images: Path) -> None:
    checkpoint("m.pt", sample=images)
    few = read("m.pt", None, Reading(needs_data=True, limit=10, normalize="none"))
    assert few.source == "the sample in m.pt"
    expected = dataset(images, normalize="none", limit=10).batch(0, 10)[0]
    assert torch.equal(batch_of(few), expected)  # type: ignore[arg-type]


def test_recorded_data_is_found_again_only_as_it_was(images: Path) -> None:
    checkpoint("m.pt", source="test.npz")
    loaded = read("m.pt", None, Reading(needs_data=True, limit=5))
    assert (loaded.source, loaded.data_from) == ("test.npz", "recorded by the checkpoint")
    assert loaded.data is not None
    assert len(loaded.data) == 5
    arrays("test.npz", seed=1)
    with pytest.raises(
        LeftOutError, match=r"tested on test.npz \(20 examples\), which is not here or"
    ):
        read("m.pt", None, WANTED)
    images.unlink()
    with pytest.raises(LeftOutError, match=r"which is not here or not as it was then. Say --data"):
        read("m.pt", None, WANTED)


@pytest.mark.parametrize(
    "source", ["folder:.", "//host/test.npz", "cifar10://host/x", "text:test.npz", "test", "idx:."]
)
def test_a_checkpoint_does_not_say_what_else_is_opened(
    images: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*arguments: object) -> Dataset:
        raise AssertionError(arguments)

    monkeypatch.setattr("resanalysis.run.model_data.data_for", opened)
    checkpoint("m.pt", source=source)
    with pytest.raises(LeftOutError):
        read("m.pt", None, WANTED)


def test_models_that_bring_different_examples_are_not_compared(images: Path) -> None:
    checkpoint("a.pt", sample=images)
    checkpoint("b.pt", sample=images)
    assert read_several(["a.pt", "b.pt"], None, WANTED).data_from == "carried by the checkpoint"
    checkpoint("c.pt", sample=arrays("other.npz", seed=1))
    with pytest.raises(LeftOutError, match="a and c bring different examples; name some for all"):
        read_several(["a.pt", "b.pt", "c.pt"], None, WANTED)
    assert read_several(["a.pt", "c.pt"], "test.npz", WANTED).source == "test.npz"


def run(*words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--out", "results"])


def test_a_command_on_the_model_alone(images: Path) -> None:
    checkpoint("model.pt", source="test.npz", sample=images)
    assert (result := run("lesion", "model.pt")).exit_code == 0, result.output
    assert "20 examples of the sample of test.npz, carried by the checkpoint" in result.stderr
    own = json.loads(Path("results/manifest.json").read_text())["lesion"]
    assert own["options"]["data"] == "the sample of test.npz"
    assert own["facts"]["data_from"] == "carried by the checkpoint"
    table = Path("results/lesion.csv").read_text()
    assert run("lesion", "model.pt", "--data", "test.npz").exit_code == 0
    named = json.loads(Path("results/manifest.json").read_text())["lesion"]
    assert named["options"]["data"] == "test.npz"
    assert named["facts"]["data_from"] == "--data"
    assert named["data_sha256"] == own["data_sha256"]
    assert Path("results/lesion.csv").read_text() == table


def test_inspect_takes_no_data_it_does_not_need(images: Path) -> None:
    checkpoint("model.pt", sample=images)
    assert run("inspect", "model.pt").exit_code == 0
    assert json.loads(Path("results/manifest.json").read_text())["inspect"]["n"] is None


def test_the_bundled_network_by_its_name_alone(images: Path) -> None:
    loaded = read("bundled:resnet56-fashion-mnist", None, Reading(needs_data=True, limit=10))
    assert (loaded.source, loaded.data_from) == (
        "bundled:fashion-mnist-test",
        "shipped with the model",
    )


def test_where_nothing_is_known_one_line_says_what_would_do(images: Path) -> None:
    torch.save(cifar(8).state_dict(), "bare.pt")
    result = run("lesion", "bare.pt")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "error: nothing to measure bare.pt on: it takes images of 3 channels, such as 3×32×32, and has 5 "
        "outputs. Say --data test.npz --normalize NAME, or once for all: resanalysis pack bare.pt --data "
        "test.npz --normalize NAME --out model.pt"
    ]
    checkpoint("own.pt")
    result = run("reorder", "own.pt")
    assert result.exit_code == 2
    assert (
        "it takes images of 3×8×8, and has 5 outputs. Say --data test.npz, or once" in result.stderr
    )
    assert not Path("results").exists()


def test_images_of_another_size_than_the_recorded_one_are_told_of(images: Path) -> None:
    path = checkpoint("m.pt")
    large = np.full((4, 3, 12, 8), 7, dtype=np.uint8)
    np.savez("large.npz", images=large, labels=np.arange(4))
    with pytest.warns(UserWarning, match=r"images of large.npz are 12×8, and m records 8×8"):
        read(path, "large.npz", Reading())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(path, str(images), Reading())
