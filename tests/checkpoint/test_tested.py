"""What a checkpoint records of test data and carries of it: as it was written, or one line."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from resanalysis.checkpoint import CheckpointError, DataRecord, ModelInfo, Sample, load, sample_of
from resanalysis.checkpoint.own import save_checkpoint
from resanalysis.checkpoint.tested import ships_with
from resanalysis.datasets import Dataset, dataset, image_dataset
from resanalysis.models.architecture import Architecture
from tests.conftest import cifar

TINY = Architecture("cifar_resnet", {"depth": 8, "width": 4, "classes": 5})
TESTED = DataRecord("test.npz", "test", "ab" * 32, 30)


def labelled(counts: list[int], side: int = 4) -> Dataset:
    """Random images, ``counts[k]`` of them of class k."""
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 3, side, side), np.uint8)
    return image_dataset(images, labels, mean=(0.5,), std=(0.5,))


def written(path: Path, **changed: Any) -> Path:
    """A checkpoint with both records, some of their fields replaced: ``sample_images=…``."""
    sample = sample_of(labelled([2] * 5), 10**6)
    save_checkpoint(path, cifar(8), architecture=TINY, tested=TESTED, sample=sample)
    content = torch.load(path, weights_only=True)
    for place, value in changed.items():
        record, _, field = place.partition("__")
        if field:
            content[record][field] = value
        else:
            content[record] = value
    torch.save(content, path)
    return path


def info_of(path: Path) -> ModelInfo:
    info: Any = load(path).resanalysis
    return info


def test_what_is_written_is_read(tmp_path: Path) -> None:
    data = labelled([3, 3, 3, 3, 3])
    path = tmp_path / "m.pt"
    save_checkpoint(path, cifar(8), architecture=TINY, tested=TESTED, sample=sample_of(data, 10**6))
    info = info_of(path)
    assert info.tested == TESTED
    assert info.built == TINY
    assert info.sample is not None
    assert info.sample.labels is not None
    assert np.array_equal(info.sample.images, data.source.read(data.indices))
    assert info.sample.labels.tolist() == np.repeat(np.arange(5), 3).tolist()
    assert info.sample.chosen == ""


def test_without_a_record_there_is_none(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "m.pt", cifar(8), architecture=TINY)
    info = info_of(tmp_path / "m.pt")
    assert (info.tested, info.sample) == (None, None)


def test_a_sample_keeps_its_bounds_and_its_balance() -> None:
    data = labelled([40, 40, 40])  # 48 bytes an image and 8 a label
    assert len(sample_of(data, 10**6).images) == 120
    some = sample_of(data, 56 * 50)
    assert len(some.images) == 48  # 50 fit, 48 are 16 of each class
    assert some.labels is not None
    assert np.bincount(some.labels).tolist() == [16, 16, 16]
    assert some.chosen == "stratified subset of 48 from 120, seed 0"
    assert len(sample_of(data, 1).images) == 1
    assert len(sample_of(data, 1, limit=7).images) == 7
    assert len(sample_of(labelled([2500], 1), 10**6).images) == 2000


def test_each_example_of_a_sample_is_one_of_the_data() -> None:
    data = labelled([9, 5, 4])
    sample = sample_of(data, 56 * 9, seed=3)
    assert data.labels is not None
    assert sample.labels is not None
    everything = {
        image.tobytes(): int(label)
        for image, label in zip(data.source.read(data.indices), data.labels, strict=True)
    }
    found = [everything[image.tobytes()] for image in sample.images]
    assert found == sample.labels.tolist()
    assert len({image.tobytes() for image in sample.images}) == len(sample.images)


def test_only_the_sample_is_stored(tmp_path: Path) -> None:
    images = np.zeros((1000, 3, 32, 32), np.uint8)
    save_checkpoint(tmp_path / "m.pt", cifar(8), architecture=TINY, sample=Sample(images[:2], None))
    assert (tmp_path / "m.pt").stat().st_size < 10**5


IMAGES = torch.zeros(10, 3, 4, 4, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"test_data": 3}, "test_data should be a source and its sha256, found int 3"),
        ({"test_data__source": ""}, "test_data.source should be a text, found str"),
        ({"test_data__split": [1]}, "test_data.split should be train or test, found list"),
        ({"test_data__sha256": "x" * 64}, "test_data.sha256 should be 64 hexadecimal digits, found"),
        ({"test_data__n": True}, "test_data.n should be a number of examples, found bool True"),
        ({"test_data__n": 10**30}, "test_data.n should be a number of examples, found int"),
        ({"sample": [1]}, "sample should be images and labels, found list"),
        ({"sample__images": None}, "sample.images should be N×C×H×W bytes, found nothing"),
        ({"sample__images": IMAGES.float()}, "sample.images should be N×C×H×W bytes, found str float32"),
        ({"sample__images": IMAGES[:0]}, "sample.images should be N×C×H×W of 1 or 3 channels, found str 0×3"),
        ({"sample__images": IMAGES[:, :2]}, "sample.images should be N×C×H×W of 1 or 3 channels"),
        ({"sample__images": IMAGES[0]}, "sample.images should be N×C×H×W of 1 or 3 channels, found str 3×4×4"),
        ({"sample__labels": [0] * 10}, "sample.labels should be N whole numbers, found list"),
        ({"sample__labels": torch.zeros(10)}, "sample.labels should be N whole numbers, found str float32"),
        ({"sample__labels": torch.zeros(9).long()}, "sample.labels should be one per image, or per pixel"),
        ({"sample__labels": -torch.ones(10).long()}, "sample.labels should be 0 or more, found int -1"),
        ({"sample__chosen": None}, "sample.chosen should be a text, found nothing"),
    ],
)  # fmt: skip
def test_a_damaged_record(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    path = written(tmp_path / "own.pt", **changed)
    with pytest.raises(CheckpointError) as found:
        load(path)
    assert "own.pt is a damaged resanalysis checkpoint: its " + message in str(found.value)


def test_a_sample_that_claims_more_than_it_holds(tmp_path: Path) -> None:
    huge = torch.zeros(1, dtype=torch.uint8).expand(10**6, 3, 1000, 1000)
    path = written(tmp_path / "own.pt", sample__images=huge)
    with pytest.raises(CheckpointError, match=r"sample.images claims 3,000,000,000,000 values and"):
        load(path)


def test_every_bundled_network_has_data_that_ships() -> None:
    models = [
        e.name for e in (files("resanalysis") / "bundled").iterdir() if e.name.endswith(".pt")
    ]
    assert models
    for name in models:
        found = ships_with(name.removesuffix(".pt"))
        assert found is not None, f"resanalysis/bundled/test-data.json has no line for {name}"
        assert len(dataset(found.source)) > 0
    assert ships_with("nothing") is None
