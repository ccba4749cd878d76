"""Data sets in their official layouts, and one clear message for each thing that can be wrong."""

from __future__ import annotations

import gzip
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from resanalysis.datasets import DataError, dataset, image_dataset

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 3, 8, 8), dtype=np.uint8)
LABELS = np.arange(20) % 4


def pixels(batch: object) -> np.ndarray:
    assert isinstance(batch, Tensor)
    return np.rint(batch.numpy() * 255).astype(int)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_npz_in_either_layout(tmp_path: Path, layout: str) -> None:
    images = IMAGES if layout == "NCHW" else IMAGES.transpose(0, 2, 3, 1)
    np.savez(tmp_path / "d.npz", images=images, labels=LABELS)
    data = dataset(tmp_path / "d.npz", normalize="none")
    inputs, labels = data.batch(3, 7)
    assert np.array_equal(pixels(inputs), IMAGES[3:7])
    assert labels is not None
    assert labels.tolist() == LABELS[3:7].tolist()
    assert labels.dtype is torch.int64


def test_grey_images_and_recorded_normalisation(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=IMAGES[:, 0], labels=LABELS, mean=[0.5], std=[0.25])
    inputs, _ = dataset(tmp_path / "d.npz").batch(0, 2)
    assert isinstance(inputs, Tensor)
    expected = (IMAGES[:2, :1].astype(np.float64) / 255 - 0.5) / 0.25
    np.testing.assert_allclose(inputs.numpy(), expected, atol=1e-6)


def test_normalisation_is_never_guessed(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=IMAGES, labels=LABELS)
    with pytest.raises(
        DataError, match="nothing records how the model's training images were normal"
    ):
        dataset(tmp_path / "d.npz")
    with pytest.raises(DataError, match=r"no normalisation 'x'; there are imagenet, cifar10"):
        dataset(tmp_path / "d.npz", normalize="x")
    with pytest.raises(DataError, match="a mean and a std belong together"):
        dataset(tmp_path / "d.npz", mean=[0.5])
    with pytest.raises(DataError, match="must be positive"):
        dataset(tmp_path / "d.npz", mean=[0.5], std=[0.0])
    with pytest.raises(DataError, match="the mean to normalise with is"):
        dataset(tmp_path / "d.npz", mean=[float("nan")], std=[1.0])
    with pytest.raises(
        DataError, match=r"images have 3 channels, the mean to normalise with has 2"
    ):
        dataset(tmp_path / "d.npz", mean=[0.5, 0.5], std=[1.0, 1.0])


def test_cifar10_binary_and_python(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
    labels = np.array([0, 9, 3, 3, 1, 2])
    binary, python = tmp_path / "b", tmp_path / "p" / "cifar-10-batches-py"
    binary.mkdir()
    python.mkdir(parents=True)
    rows = np.concatenate([labels[:, None].astype(np.uint8), images.reshape(6, -1)], axis=1)
    (binary / "test_batch.bin").write_bytes(rows.tobytes())
    (python / "test_batch").write_bytes(
        pickle.dumps({b"data": images.reshape(6, -1), b"labels": labels.tolist()}, protocol=2)
    )
    for place in (binary, tmp_path / "p"):
        data = dataset(f"cifar10:{place}", normalize="none")
        inputs, found = data.batch(0, 6)
        assert np.array_equal(pixels(inputs), images)
        assert found is not None
        assert found.tolist() == labels.tolist()
        assert data.classes is not None
        assert data.classes[9] == "truck"
    with pytest.raises(
        DataError, match=r"holds no CIFAR-10 train data: neither data_batch_1.bin nor"
    ):
        dataset(f"cifar10:{binary}", split="train", normalize="none")


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.target}",)


def test_a_cifar_pickle_cannot_run_anything(tmp_path: Path) -> None:
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": Malicious(tmp_path / "ran")}))
    with pytest.raises(DataError, match=r"test_batch is no CIFAR-10 batch: it names \w+.system"):
        dataset(f"cifar10:{tmp_path}", normalize="none")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_fashion_mnist_idx(tmp_path: Path, zipped: bool) -> None:
    images = RNG.integers(0, 256, (5, 28, 28), dtype=np.uint8)
    labels = np.array([1, 2, 3, 9, 0], dtype=np.uint8)
    header = b"\0\0\x08\x03" + np.array([5, 28, 28], ">i4").tobytes()
    files = {
        "t10k-images-idx3-ubyte": header + images.tobytes(),
        "t10k-labels-idx1-ubyte": b"\0\0\x08\x01"
        + np.array([5], ">i4").tobytes()
        + labels.tobytes(),
    }
    for name, content in files.items():
        path = tmp_path / (name + ".gz" if zipped else name)
        path.write_bytes(gzip.compress(content) if zipped else content)
    data = dataset(f"fashion-mnist:{tmp_path}", normalize="none")
    assert np.array_equal(pixels(data.batch(0, 5)[0])[:, 0], images)
    assert data.labels is not None
    assert data.labels.tolist() == labels.tolist()
    path.write_bytes(gzip.compress(content[:-1]) if zipped else content[:-1])
    with pytest.raises(DataError, match=r"labels-idx1-ubyte(.gz)? is truncated: 4 bytes of 5"):
        dataset(f"fashion-mnist:{tmp_path}", normalize="none")


def test_folder_of_images_is_read_as_needed(tmp_path: Path) -> None:
    for label, name in enumerate(["cat", "dog"]):
        (tmp_path / name).mkdir()
        for index in range(3):
            colour = (100 * label, 10 * index, 7)
            Image.new("RGB", (40, 30), colour).save(tmp_path / name / f"{index}.png")
    data = dataset(f"folder:{tmp_path}", normalize="none", image_size=16)
    inputs, labels = data.batch(2, 5)
    assert inputs.shape == (3, 3, 16, 16)  # type: ignore[union-attr]
    assert pixels(inputs)[:, :, 8, 8].tolist() == [[0, 20, 7], [100, 0, 7], [100, 10, 7]]
    assert labels is not None
    assert labels.tolist() == [0, 1, 1]
    assert data.classes == ("cat", "dog")
    (tmp_path / "dog" / "1.png").write_bytes(b"no image")
    data.batch(0, 3)
    with pytest.raises(DataError, match=r"dog/1.png is no readable image"):
        data.batch(3, 6)


def test_a_limited_set_is_stratified_seeded_and_in_order() -> None:
    data = image_dataset(IMAGES, LABELS, mean=[0.0], std=[1.0])
    part = data.limited(8, seed=3)
    assert part.labels is not None
    assert np.bincount(part.labels).tolist() == [2, 2, 2, 2]
    assert (np.diff(part.indices) > 0).all()
    assert np.array_equal(part.labels, LABELS[part.indices])
    assert np.array_equal(pixels(part.batch(0, 8)[0]), IMAGES[part.indices])
    assert np.array_equal(part.indices, data.limited(8, seed=3).indices)
    assert not np.array_equal(part.indices, data.limited(8, seed=4).indices)
    assert part.subset == "stratified subset of 8 from 20, seed 3"
    assert data.limited(100) is data
    assert len(data.limited(7).batch(0, 7)[0]) == 7  # type: ignore[arg-type]


def test_digest_depends_on_content_normalisation_and_choice() -> None:
    data = image_dataset(IMAGES, LABELS, mean=[0.0], std=[1.0])
    changed = IMAGES.copy()
    changed[0, 0, 0, 0] ^= 1
    others = [
        image_dataset(changed, LABELS, mean=[0.0], std=[1.0]),
        image_dataset(IMAGES, LABELS[::-1], mean=[0.0], std=[1.0]),
        image_dataset(IMAGES, LABELS, mean=[0.1], std=[1.0]),
        data.limited(10),
    ]
    assert len({data.sha256, *(other.sha256 for other in others)}) == 5
    assert image_dataset(IMAGES.copy(), LABELS, mean=[0.0], std=[1.0]).sha256 == data.sha256


def test_tokens(tmp_path: Path) -> None:
    tokens = RNG.integers(0, 50, (4, 6))
    mask = np.ones((4, 6), dtype=int)
    mask[:, 4:] = 0
    np.savez(tmp_path / "t.npz", input_ids=tokens, attention_mask=mask)
    inputs, labels = dataset(f"tokens:{tmp_path / 't.npz'}").batch(1, 3)
    assert isinstance(inputs, dict)
    assert inputs["input_ids"].tolist() == tokens[1:3].tolist()
    assert inputs["attention_mask"].tolist() == mask[1:3].tolist()
    assert labels is not None
    assert (labels[:, 4:] == -100).all()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES}, r"has no array labels; it has images"),
        ({"x": IMAGES, "labels": LABELS}, r"has no array images; it has x, labels"),
        ({"images": IMAGES / 255.0, "labels": LABELS}, r"images must be uint8 .* found float64"),
        ({"images": IMAGES, "labels": LABELS[:5]}, r"20 images but labels of shape \(5,\)"),
        (
            {"images": IMAGES, "labels": LABELS - 1},
            r"labels run from -1 to 2, allowed are 0 and up",
        ),
        ({"images": IMAGES, "labels": LABELS / 1}, r"labels must be integers, found float64"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, r"there are no images"),
        ({"images": IMAGES[:, :2], "labels": LABELS}, r"1 or 3 channels, or N×H×W, found 20×2×8×8"),
        (
            {"images": IMAGES, "labels": LABELS, "classes": np.array(["a", "b"])},
            r"labels run from 0 to 3, allowed are 0 to 1",
        ),
    ],
)
def test_what_can_be_wrong_with_an_npz(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(DataError, match=message):
        dataset(tmp_path / "d.npz", normalize="none")


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*none.npz"):
        dataset(tmp_path / "none.npz", normalize="none")
    (tmp_path / "bad.npz").write_bytes(os.urandom(500))
    with pytest.raises(DataError, match=r"bad.npz is no readable .npz file"):
        dataset(tmp_path / "bad.npz", normalize="none")
    with pytest.raises(DataError, match=r"no data bundled:x ships; there are fashion-mnist-test"):
        dataset("bundled:x")
    with pytest.raises(DataError, match=r"there is no folder"):
        dataset(f"folder:{tmp_path / 'absent'}", normalize="none")


def test_the_bundled_images_are_balanced() -> None:
    data = dataset("bundled:fashion-mnist-test")
    assert data.labels is not None
    assert np.bincount(data.labels).tolist() == [200] * 10
