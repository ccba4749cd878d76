"""Files of data that claim, hide or mean something else than they seem to."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import stat
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from resanalysis.datasets import DataError, dataset, image_dataset, tell_of_classes
from resanalysis.datasets.npz import read_npz

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 3, 8, 8), dtype=np.uint8)
LABELS = np.arange(6) % 3
TEST_BATCH = {b"data": RNG.integers(0, 256, (4, 3072), dtype=np.uint8), b"labels": [1, 2, 3, 4]}


def picture(path: Path, value: int = 9) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 20), (value, value, value)).save(path)


# --- folders of images ----------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", ".cache", "__MACOSX", ".DS_Store"])
def test_hidden_folders_and_files_shift_no_label(tmp_path: Path, hidden: str) -> None:
    picture(tmp_path / "cat" / "a.png")
    picture(tmp_path / "dog" / "a.png")
    before = dataset(f"folder:{tmp_path}", normalize="none")
    picture(tmp_path / hidden / "x.png")
    picture(tmp_path / "cat" / "._a.png")
    picture(tmp_path / "cat" / ".thumbnails" / "a.png")
    (tmp_path / ".empty").mkdir()
    after = dataset(f"folder:{tmp_path}", normalize="none")
    assert after.classes == before.classes == ("cat", "dog")
    assert before.labels is not None
    assert after.labels is not None
    assert after.labels.tolist() == before.labels.tolist() == [0, 1]
    assert after.sha256 == before.sha256


def test_an_empty_class_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "dog" / "a.png")
    (tmp_path / "cat").mkdir()
    with pytest.raises(
        DataError, match=r"cat holds no images; as a class it would shift the labels of those beh"
    ):
        dataset(f"folder:{tmp_path}", normalize="none")


def test_another_number_of_classes_is_said(tmp_path: Path) -> None:
    picture(tmp_path / "cat" / "a.png")
    picture(tmp_path / "dog" / "a.png")
    data = dataset(f"folder:{tmp_path}", normalize="none")
    with pytest.warns(
        UserWarning, match=r"has 2 classes, cat to dog, and m 1000 outputs: label 0 is"
    ):
        tell_of_classes(data, 1000, "m")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tell_of_classes(data, 2, "m")
        tell_of_classes(image_dataset(IMAGES, LABELS, mean=[0], std=[1]), 1000, "m")


@pytest.mark.parametrize("suffix", [".png", ".pgm"])
def test_16_bit_grey_is_scaled(tmp_path: Path, suffix: str) -> None:
    values = np.linspace(0, 65535, 16 * 16).reshape(16, 16).astype(np.uint16)
    (tmp_path / "a").mkdir()
    Image.fromarray(values).save(tmp_path / "a" / f"x{suffix}")
    data = dataset(f"folder:{tmp_path}", normalize="none", image_size=14)
    inputs, _ = data.batch(0, 1)
    assert isinstance(inputs, Tensor)
    middle = np.rint(values[1:15, 1:15] / 65535 * 255)  # the crop; 16 is 14 * 8 / 7
    np.testing.assert_allclose(inputs[0].numpy() * 255, np.stack([middle] * 3), atol=0.51)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_grey_of_unknown_white_is_refused(tmp_path: Path, mode: str) -> None:
    (tmp_path / "a").mkdir()
    Image.new(mode, (9, 9), 3).save(tmp_path / "a" / "x.tiff")
    data = dataset(f"folder:{tmp_path}", normalize="none")
    with pytest.raises(
        DataError, match=r"x.tiff is no readable image: its values are .* do not say"
    ):
        data.batch(0, 1)


def test_a_picture_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary, programs = tmp_path / "ran", tmp_path / "bin"
    programs.mkdir()
    for name in ("gs", "gswin32c", "gswin64c"):
        (programs / name).write_text(f"#!/bin/sh\ntouch {canary}\n")
        (programs / name).chmod(0o755 | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "data" / "a").mkdir(parents=True)
    trap = tmp_path / "data" / "a" / "x.png"
    Image.new("RGB", (9, 9)).save(trap, format="EPS")
    # That the trap works: Pillow, asked for any format, starts the program.
    with pytest.raises(Exception, match=r".*"), Image.open(trap) as image:
        image.load()
    assert canary.exists()
    canary.unlink()
    with pytest.raises(DataError, match=r"x.png is no readable image: cannot identify image file"):
        dataset(f"folder:{tmp_path / 'data'}", normalize="none").batch(0, 1)
    assert not canary.exists()


def test_names_of_folders_are_printable(tmp_path: Path) -> None:
    picture(tmp_path / "a\x1b[2J\nb" / "a.png")
    assert dataset(f"folder:{tmp_path}", normalize="none").classes == ("a\\x1b[2J\\nb",)


# --- CIFAR's batches --------------------------------------------------------------------------------


def cifar(folder: Path, **changed: Any) -> str:
    content = TEST_BATCH | {key.encode(): value for key, value in changed.items()}
    (folder / "test_batch").write_bytes(pickle.dumps(content, protocol=2))
    return f"cifar10:{folder}"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"data": TEST_BATCH[b"data"] / 255}, r"images must be uint8 \(0 to 255\), found float64"),
        ({"data": TEST_BATCH[b"data"].astype(int) * 3}, r"images must be uint8 .* found int64"),
        ({"data": TEST_BATCH[b"data"][:, :-1]}, r"its data is of shape \(4, 3071\), not N×3072"),
        ({"data": 3}, r"its data is of shape \(\), not N×3072"),
        ({"labels": [0.5, 1.5, 2.5, 3.5]}, r"labels must be integers from 0, found float64"),
        ({"labels": ["cat"] * 4}, r"labels must be integers from 0, found text"),
        ({"labels": [1, 2, 3, 10]}, r"labels run from 1 to 10, allowed are 0 to 9"),
        ({"labels": [1, 2, 3]}, r"4 images but labels of shape \(3,\)"),
    ],
)  # fmt: skip
def test_cifar_batches_are_not_cast(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    data = dataset(cifar(tmp_path), normalize="none")
    inputs, _ = data.batch(0, 4)
    assert isinstance(inputs, Tensor)
    assert np.array_equal(np.rint(inputs.numpy() * 255).reshape(4, -1), TEST_BATCH[b"data"])
    with pytest.raises(DataError, match=rf"test_batch.*{message}"):
        dataset(cifar(tmp_path, **changed), normalize="none")


class Claims:
    """Pickled as an array of a shape that it brings no values for."""

    def __reduce__(self) -> tuple[object, ...]:
        return np.ndarray, ((10**5, 3072), "u1")


def test_an_array_in_a_cifar_pickle_is_as_large_as_its_values(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is no CIFAR-10 batch"):
        dataset(cifar(tmp_path, data=Claims()), normalize="none")
    reconstruct = np.zeros(1).__reduce__()[0]

    class Rebuilt:
        def __reduce__(self) -> tuple[object, ...]:
            return reconstruct, (np.ndarray, (10**5, 3072), b"B")

    with pytest.raises(DataError, match=r"makes an array of shape \(100000, 3072\) without values"):
        dataset(cifar(tmp_path, data=Rebuilt()), normalize="none")


# --- npz --------------------------------------------------------------------------------------------


def npz(path: Path, **entries: bytes | np.ndarray) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            if isinstance(content, np.ndarray):
                buffer = io.BytesIO()
                np.save(buffer, content)
                content, name = buffer.getvalue(), f"{name}.npy"
            archive.writestr(name, content)
    return path


def header(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"images": IMAGES, "labels": b"text"}, r"its entry labels is no array"),
        ({"images": pickle.dumps([1])}, r"its entry images is no array"),
        ({"images": header((10**6, 3, 224, 224)) + bytes(9)},
         r"its array images says it takes 150,528,000,000 bytes, and has 9; write it"),
        ({"images": header((1, 3, 8, 8)) + bytes(193)}, r"says it takes 192 bytes, and has 193"),
        ({"images": IMAGES, "labels": np.zeros((6, 0, 0), int)}, r"6 images but labels of shape \(6, 0, 0\)"),
        ({"images": IMAGES, "labels\x1b[2J": LABELS}, r"it has images, labels\\x1b\[2J\. Call them"),
    ],
)  # fmt: skip
def test_entries_are_what_they_say(tmp_path: Path, entries: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        dataset(npz(tmp_path / "d.npz", **entries), normalize="none")


def test_the_same_name_twice(tmp_path: Path) -> None:
    path = npz(tmp_path / "d.npz", images=IMAGES)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("images.npy", b"other")
    with pytest.raises(DataError, match=r"it holds images twice"):
        dataset(path, normalize="none")


def test_only_what_is_known_is_read(tmp_path: Path) -> None:
    path = npz(tmp_path / "d.npz", images=IMAGES, labels=LABELS, extra=b"no array at all")
    arrays, names = read_npz(path, ("images",), ("images", "labels"))
    assert set(arrays) == {"images", "labels"}
    assert names == ("images", "labels", "extra")
    assert len(dataset(path, normalize="none")) == 6


# --- idx --------------------------------------------------------------------------------------------


def test_idx_files_are_unpacked_up_to_their_header(tmp_path: Path) -> None:
    def written(name: str, shape: tuple[int, ...], size: int) -> None:
        start = b"\0\0\x08" + bytes([len(shape)]) + np.array(shape, ">i4").tobytes()
        (tmp_path / f"t10k-{name}-ubyte.gz").write_bytes(gzip.compress(start + bytes(size)))

    written("labels-idx1", (2,), 2)
    written("images-idx3", (2, 3, 3), 20_000_000)
    with pytest.raises(DataError, match=r"is longer than the 18 bytes of its shape \(2, 3, 3\)"):
        dataset(f"mnist:{tmp_path}", normalize="none")
    written("images-idx3", (2**31 - 1, 2**31 - 1, 2**31 - 1), 18)
    with pytest.raises(DataError, match=r"is truncated: 18 bytes of 99"):
        dataset(f"mnist:{tmp_path}", normalize="none")


# --- numbers of another scale ------------------------------------------------------------------------


def test_a_mean_of_0_to_255_is_refused(tmp_path: Path) -> None:
    mean, std = [123.7, 116.3, 103.5], [58.4, 57.1, 57.4]
    np.savez(tmp_path / "d.npz", images=IMAGES, labels=LABELS, mean=mean, std=std)
    message = r"where none is above 1; divide mean and std by 255 \(mean 0.4851,0.4561,0.4059\)"
    with pytest.raises(DataError, match=message):
        dataset(tmp_path / "d.npz")
    with pytest.raises(DataError, match=message):
        dataset(tmp_path / "d.npz", mean=mean, std=std)
    with pytest.raises(DataError, match=message):
        image_dataset(IMAGES, LABELS, mean=mean, std=std)


def test_images_cast_from_0_to_1_are_said(tmp_path: Path) -> None:
    for cast in (IMAGES > 100, IMAGES > 255):
        np.savez(tmp_path / "d.npz", images=cast.astype(np.uint8), labels=LABELS)
        with pytest.warns(UserWarning, match=r"d.npz: the images hold only 0 and 1 of 0 to 255"):
            dataset(tmp_path / "d.npz", normalize="none")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image_dataset(np.pad(IMAGES * 0 + 1, ((0, 1), *[(0, 0)] * 3), constant_values=2), None,
                      mean=[0], std=[1])  # fmt: skip


def test_tokens_without_labels(tmp_path: Path) -> None:
    mask = np.array([[1, 0, 0], [1, 1, 0]])
    np.savez(tmp_path / "t.npz", input_ids=np.ones((2, 3), int), attention_mask=mask)
    with pytest.raises(DataError, match=r"1 of 2 sequences have no two tokens side by side"):
        dataset(f"tokens:{tmp_path / 't.npz'}")
    data = dataset(f"tokens:{tmp_path / 't.npz'}?labels=none")
    inputs, labels = data.limited(1, 0).batch(0, 1)
    assert isinstance(inputs, dict)
    assert set(inputs) == {"input_ids", "attention_mask"}
    assert labels is None
