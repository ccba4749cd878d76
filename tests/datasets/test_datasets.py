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
        (
            {"images": IMAGES, "y": LABELS},
            r"has no array labels; it has images, y. Call them labels",
        ),
        ({"x": IMAGES, "labels": LABELS}, r"has no array images; it has x, labels"),
        ({"images": IMAGES / 255.0, "labels": LABELS}, r"images must be uint8 .* found float64"),
        ({"images": IMAGES, "labels": LABELS[:5]}, r"20 images but labels of shape \(5,\)"),
        (
            {"images": IMAGES, "labels": LABELS - 1},
            r"labels run from -1 to 2, allowed are 0 and up",
        ),
        (
            {"images": IMAGES, "labels": LABELS / 1},
            r"labels must be integers from 0, found float64",
        ),
        ({"images": IMAGES, "labels": LABELS > 1}, r"labels must be integers from 0, found bool"),
        ({"images": IMAGES, "labels": np.array(["a"] * 20)}, r"be integers from 0, found text"),
        ({"images": IMAGES, "labels": LABELS[:, None]}, r"labels of shape \(20, 1\); there is one"),
        (
            {"images": IMAGES, "labels": np.full(20, 2**64 - 1, np.uint64)},
            r"labels run up to 18446744073709551615, which is no class",
        ),
        (
            {"images": np.full((20, 3, 8, 8), np.nan), "labels": LABELS},
            r"images must be uint8 \(0 to 255\), found float64; scale them back",
        ),
        ({"images": IMAGES.astype(int), "labels": LABELS}, r"must be uint8 .* found int64"),
        ({"images": np.uint8(3), "labels": LABELS}, r"or N×H×W, found one number"),
        ({"images": IMAGES[:, 0, 0], "labels": LABELS}, r"or N×H×W, found 20×8"),
        ({"images": IMAGES[..., None], "labels": LABELS}, r"or N×H×W, found 20×3×8×8×1"),
        ({"images": IMAGES[:, :, :0], "labels": LABELS}, r"no images: the array has the shape"),
        (
            {"images": np.array([IMAGES[0], None], dtype=object), "labels": LABELS},
            r"d.npz: its array images is a pickle of Python objects, which could run code; it was not",
        ),
        (
            {"images": IMAGES, "labels": np.array([None] * 20)},
            r"d.npz: its array labels is a pickle of Python objects",
        ),
        (
            {"images": IMAGES, "labels": LABELS, "classes": np.array("abc")},
            r"classes must be a list of names, found shape \(\)",
        ),
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
    with pytest.raises(DataError, match=r"there is no file .*none.npz; data are an .npz"):
        dataset(tmp_path / "none.npz", normalize="none")
    (tmp_path / "bad.npz").write_bytes(os.urandom(500))
    with pytest.raises(DataError, match=r"bad.npz is no readable .npz file"):
        dataset(tmp_path / "bad.npz", normalize="none")
    with pytest.raises(DataError, match=r"no data bundled:x ships; there are fashion-mnist-test"):
        dataset("bundled:x")
    with pytest.raises(DataError, match=r"the folder .*absent is not there"):
        dataset(f"folder:{tmp_path / 'absent'}", normalize="none")


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("damage", ["empty", "half", "flipped"])
def test_damaged_npz_files(tmp_path: Path, damage: str, compressed: bool) -> None:
    path = tmp_path / "d.npz"
    (np.savez_compressed if compressed else np.savez)(path, images=IMAGES, labels=LABELS)
    whole = bytearray(path.read_bytes())
    whole[300] ^= 255
    content = {"empty": b"", "half": bytes(whole[: len(whole) // 2]), "flipped": bytes(whole)}
    path.write_bytes(content[damage])
    with pytest.raises(
        DataError, match=r"d.npz is no readable .npz file: .+; write it with numpy.savez"
    ):
        dataset(path, normalize="none")


def test_pickles_are_not_read(tmp_path: Path) -> None:
    evil = Malicious(tmp_path / "ran")
    (tmp_path / "p.npz").write_bytes(pickle.dumps(evil))
    np.savez(tmp_path / "o.npz", images=IMAGES, labels=np.array([evil] * 20, dtype=object))
    for name, message in (
        (
            "p",
            "no readable .npz file: it is no zip archive of arrays, and a pickle is not read; write",
        ),
        (
            "o",
            "its array labels is a pickle of Python objects, which could run code; it was not read",
        ),
    ):
        with pytest.raises(DataError, match=rf"{name}.npz.*{message}"):
            dataset(tmp_path / f"{name}.npz", normalize="none")
    assert not (tmp_path / "ran").exists()


def test_other_things_given_for_a_file(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"is a folder; one with a folder of images per class is folder:"
    ):
        dataset(tmp_path, normalize="none")
    np.save(tmp_path / "a.npy", IMAGES)
    with pytest.raises(
        DataError, match=r"a.npy is one array \(.npy\); images and labels go into one"
    ):
        dataset(tmp_path / "a.npy", normalize="none")
    with pytest.raises(DataError, match=r"the folder .*a.npy is a file, not a folder"):
        dataset(f"folder:{tmp_path / 'a.npy'}", normalize="none")
    with pytest.raises(DataError, match=r"there is no part 'dev'; there are train and test"):
        dataset(tmp_path / "a.npy", split="dev", normalize="none")  # type: ignore[arg-type]


def test_a_recorded_normalisation_that_is_none(tmp_path: Path) -> None:
    for mean in (np.array(0.5), np.ones((3, 1)), np.array(["a"])):
        np.savez(tmp_path / "d.npz", images=IMAGES, labels=LABELS, mean=mean, std=np.ones(3))
        with pytest.raises(
            DataError, match=r"the mean to normalise with must be a list of numbers"
        ):
            dataset(tmp_path / "d.npz")


def test_folders_without_images(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"holds no images in folders .* it has 0 such folders, and images"
    ):
        dataset(f"folder:{tmp_path}", normalize="none")
    (tmp_path / "cat" / "folder.png").mkdir(parents=True)
    with pytest.raises(
        DataError, match=r"it has 1 such folders, and images are files that end in .bmp"
    ):
        dataset(f"folder:{tmp_path}", normalize="none")
    picture = tmp_path / "cat" / "half.png"
    Image.fromarray(IMAGES[0].transpose(1, 2, 0)).save(picture)
    picture.write_bytes(picture.read_bytes()[:100])
    data = dataset(f"folder:{tmp_path}", normalize="none")
    with pytest.raises(
        DataError, match=r"half.png is no readable image: .*; remove it or save it again"
    ):
        data.batch(0, 1)
    picture.unlink()
    with pytest.raises(DataError, match=r"half.png cannot be read: no such file"):
        _ = data.sha256


def idx(folder: Path, name: str, shape: tuple[int, ...], content: bytes) -> None:
    header = b"\0\0\x08" + bytes([len(shape)]) + np.array(shape, ">i4").tobytes()
    (folder / name).write_bytes(header + content)


def test_damaged_idx_files(tmp_path: Path) -> None:
    images, labels = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
    idx(tmp_path, labels, (2,), bytes(2))
    for shape, content, message in (
        ((0, 28, 28), b"", r"ubyte is empty: its shape is \(0, 28, 28\)"),
        ((-1, -1, 5), bytes(5), r"ubyte is empty: its shape is \(-1, -1, 5\)"),
        ((3, 2, 2), bytes(11), r"ubyte is truncated: 11 bytes of 12"),
        ((3, 2, 2), bytes(12), r"3 images but labels of shape \(2,\)"),
    ):
        idx(tmp_path, images, shape, content)
        with pytest.raises(DataError, match=message):
            dataset(f"mnist:{tmp_path}", normalize="none")
    (tmp_path / images).write_bytes(b"\0\0\x08\x03\0")
    with pytest.raises(DataError, match=r"is no idx file of 3 dimensions"):
        dataset(f"mnist:{tmp_path}", normalize="none")


def test_damaged_cifar_batches(tmp_path: Path) -> None:
    good = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 2]}
    for content, message in (
        ([1, 2], r"is no CIFAR-10 batch: it holds a list, not a dict"),
        ({b"x": 1}, r"is no CIFAR-10 batch: it has no b'data'"),
        (
            good | {b"labels": [1]},
            r"2 images but labels of shape \(1,\); there is one label per image",
        ),
        (good | {b"labels": [1, 50]}, r"labels run from 1 to 50, allowed are 0 to 9"),
    ):
        (tmp_path / "test_batch").write_bytes(pickle.dumps(content, protocol=2))
        with pytest.raises(DataError, match=message):
            dataset(f"cifar10:{tmp_path}", normalize="none")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"input_ids": np.ones((4, 5))}, r"input_ids must be integers \(N, T\), found float64 \(4, 5\)"),
        ({"input_ids": -np.ones((4, 5), int)}, r"input_ids run from -1 to -1; token ids start at 0"),
        ({"attention_mask": np.ones((4, 4))}, r"attention_mask has shape \(4, 4\), input_ids \(4, 5\)"),
        ({"attention_mask": np.full((4, 5), 0.5)}, r"attention_mask must hold 0 and 1, found float64"),
        ({"attention_mask": np.full((4, 5), "a")}, r"attention_mask must hold 0 and 1, found <U1"),
        ({"attention_mask": np.eye(4, 5) * 0}, r"4 of 4 sequences are masked as a whole, first 0; leave"),
    ],
)  # fmt: skip
def test_what_can_be_wrong_with_tokens(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    np.savez(tmp_path / "t.npz", **{"input_ids": np.ones((4, 5), int), **arrays})
    with pytest.raises(DataError, match=message):
        dataset(f"tokens:{tmp_path / 't.npz'}")


def test_a_subset_of_unlabelled_data_is_random() -> None:
    data = image_dataset(IMAGES, None, mean=[0.0], std=[1.0])
    part = data.limited(8, seed=3)
    assert part.subset == "random subset of 8 from 20, seed 3"
    assert part.labels is None
    assert (np.diff(part.indices) > 0).all()
    assert np.array_equal(part.indices, data.limited(8, seed=3).indices)
    assert not np.array_equal(part.indices, data.limited(8, seed=4).indices)
    for n, seed, message in (
        (0, 0, "a subset of 0 examples is empty"),
        (2, -1, "a seed is 0 or more"),
    ):
        with pytest.raises(DataError, match=message):
            data.limited(n, seed)


def test_arrays_that_are_no_numpy_arrays() -> None:
    for images in (IMAGES.tolist(), torch.from_numpy(IMAGES).float()):
        with pytest.raises(DataError, match=r"array: images must be uint8 \(0 to 255\), found"):
            image_dataset(images, LABELS, mean=[0.0], std=[1.0])  # type: ignore[arg-type]
    data = image_dataset(torch.from_numpy(IMAGES), LABELS, mean=[0.0], std=[1.0])  # type: ignore[arg-type]
    assert np.array_equal(pixels(data.batch(0, 20)[0]), IMAGES)


def test_the_bundled_images_are_balanced() -> None:
    data = dataset("bundled:fashion-mnist-test")
    assert data.labels is not None
    assert np.bincount(data.labels).tolist() == [200] * 10


def test_without_labels_and_with_a_label_for_each_pixel(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=IMAGES, mean=[0.5], std=[0.25])
    data = dataset(tmp_path / "d.npz")
    assert data.labels is None
    assert data.batch(0, 3)[1] is None
    pixels = np.random.default_rng(0).integers(0, 4, (20, 8, 8))
    pixels[0] = 255
    np.savez(tmp_path / "p.npz", images=IMAGES, labels=pixels, mean=[0.5], std=[0.25])
    part = dataset(tmp_path / "p.npz", limit=6, seed=1)
    assert part.subset == "random subset of 6 from 20, seed 1"
    labels = part.batch(2, 4)[1]
    assert labels is not None
    assert np.array_equal(labels.numpy(), pixels[part.indices[2:4]])
