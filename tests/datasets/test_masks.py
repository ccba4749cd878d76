"""Images with masks in the usual layouts, and files that nobody vouches for."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import resanalysis as ra

LAYOUTS = [
    ("images", "masks"),
    ("images", "labels"),
    ("images", "annotations"),
    ("images/validation", "annotations/validation"),
    ("images/val", "masks/val"),
    ("JPEGImages", "SegmentationClass"),
]
SIZES = [(6, 8), (6, 8), (5, 7)]


def classes(number: int) -> np.ndarray:
    """What a mask holds, in its first row the number that is no class."""
    found = np.random.default_rng(number).integers(0, 21, SIZES[number], dtype=np.uint8)
    found[0, :2] = 255
    return found


def written(folder: Path, images: str = "images", masks: str = "masks", count: int = 3) -> Path:
    for place in (images, masks):
        (folder / place).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.random.default_rng(9).integers(0, 256, (*SIZES[number], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / images / f"i{number}.bmp")
        mask = Image.fromarray(classes(number), mode="P" if number % 2 else "L")
        if number % 2:
            mask.putpalette(list(range(255, -1, -1)) * 3)
        mask.save(folder / masks / f"i{number}.png")
    return folder


@pytest.mark.parametrize(("images", "masks"), LAYOUTS)
def test_the_usual_layouts(tmp_path: Path, images: str, masks: str) -> None:
    folder = written(tmp_path, images, masks)
    data = ra.dataset(f"masks:{folder}", normalize="none")
    assert len(data) == 3
    assert data.labels is None
    assert data.of_pixels
    assert not data.one_size
    assert data.taken(np.array([0, 1]), "two").batch(0, 2)[0].shape == (2, 3, 6, 8)  # type: ignore[union-attr]
    for number in range(3):
        pixels, labels = data.batch(number, number + 1)
        stored = np.asarray(Image.open(folder / images / f"i{number}.bmp")).transpose(2, 0, 1)
        np.testing.assert_allclose(pixels[0], stored / np.float32(255))  # type: ignore[index]
        expected = np.where(classes(number) == 255, -1, classes(number).astype(int))
        np.testing.assert_array_equal(labels[0], expected)  # type: ignore[index]
    with pytest.raises(ra.DataError, match="do not fit one batch"):
        data.batch(0, 3)


def test_resized_together_masks_to_the_nearest_pixel(tmp_path: Path) -> None:
    folder = written(tmp_path)
    data = ra.dataset(f"masks:{folder}", normalize="none", image_size=4, interpolation="nearest")
    assert data.one_size
    pixels, labels = data.batch(0, 3)
    assert pixels.shape == (3, 3, 4, 4)  # type: ignore[union-attr]
    for number in range(3):
        small = Image.fromarray(classes(number)).resize((4, 4), Image.Resampling.NEAREST)
        expected = np.asarray(small).astype(int)
        np.testing.assert_array_equal(labels[number], np.where(expected == 255, -1, expected))  # type: ignore[index]
    assert data.pixels is not None
    assert str(data.pixels) == "resized to 4×4, nearest"
    other = ra.dataset(f"masks:{folder}", normalize="none", image_size=4)
    assert (
        len({data.sha256, other.sha256, ra.dataset(f"masks:{folder}", normalize="none").sha256})
        == 3
    )


def test_the_digest_knows_the_masks(tmp_path: Path) -> None:
    folder = written(tmp_path)
    before = ra.dataset(f"masks:{folder}", normalize="none").sha256
    Image.fromarray(classes(0) // 2).save(folder / "masks" / "i0.png")
    assert ra.dataset(f"masks:{folder}", normalize="none").sha256 != before


def test_a_list_of_stems_and_images_without_masks(tmp_path: Path) -> None:
    folder = written(tmp_path, "JPEGImages", "SegmentationClass")
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("i2\ni0\n")
    (lists / "train.txt").write_text("i1\n")
    data = ra.dataset(f"masks:{folder}", normalize="none")
    assert [path.stem for path in data.source.masks] == ["i0", "i2"]  # type: ignore[attr-defined]
    assert data.subset == "the 2 of ImageSets/Segmentation/val.txt"
    assert len(ra.dataset(f"masks:{folder}", normalize="none", split="train")) == 1
    (lists / "val.txt").write_text("../../elsewhere\n")
    with pytest.raises(ra.DataError, match=r"val\.txt lists '?\.\./\.\./elsewhere'?, which has no"):
        ra.dataset(f"masks:{folder}", normalize="none")
    other = written(tmp_path / "other")
    (other / "masks" / "i1.png").unlink()
    assert ra.dataset(f"masks:{other}", normalize="none").subset == "the 2 of 3 with a mask"


def test_zero_may_be_no_class(tmp_path: Path) -> None:
    data = ra.dataset(f"masks:{written(tmp_path)}?zero=none", normalize="none")
    stored = classes(0).astype(int)
    expected = np.where((stored == 255) | (stored == 0), -1, stored - 1)
    np.testing.assert_array_equal(data.batch(0, 1)[1][0], expected)  # type: ignore[index]
    with pytest.raises(ra.DataError, match="there is no option zero=1"):
        ra.dataset(f"masks:{tmp_path}?zero=1", normalize="none")


def png(values: np.ndarray, bits: int) -> bytes:
    """A grey PNG of few bits a pixel, which Pillow reads and does not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    high, wide = values.shape
    rows = [[int(v >> (bits - 1 - b) & 1) for v in row for b in range(bits)] for row in values]
    lines = b"".join(b"\0" + np.packbits(row).tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", wide, high, bits, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_classes_are_the_numbers_in_the_file_whatever_its_depth(tmp_path: Path, bits: int) -> None:
    folder = written(tmp_path, count=1)
    values = np.arange(48).reshape(6, 8) % 2**bits
    if bits == 16:
        values = values * 1000
        Image.fromarray(values.astype(np.uint16)).save(folder / "masks" / "i0.png")
    else:
        (folder / "masks" / "i0.png").write_bytes(png(values.astype(np.uint8), bits))
    labels = ra.dataset(f"masks:{folder}", normalize="none").batch(0, 1)[1]
    np.testing.assert_array_equal(labels[0], values)  # type: ignore[index]


def bomb() -> bytes:
    """A header that claims many more pixels than a file should."""
    small = io.BytesIO()
    Image.fromarray(classes(0)).save(small, "PNG")
    content = bytearray(small.getvalue())
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def test_files_that_nobody_vouches_for(tmp_path: Path) -> None:
    folder = written(tmp_path / "d")
    mask, image = folder / "masks" / "i0.png", folder / "images" / "i0.bmp"
    good = mask.read_bytes()

    def first() -> None:
        ra.dataset(f"masks:{folder}", normalize="none").batch(0, 1)

    def refused(saying: str) -> None:
        with pytest.raises(ra.DataError, match=saying):
            first()

    Image.fromarray(classes(2)).save(mask)
    refused("i0.bmp is 8×6, and its mask 7×5")
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(mask)
    refused(r"its pixels are colours \(RGB\)")
    mask.write_bytes(good[:40])
    refused("is no readable image")
    mask.write_bytes(bomb())
    refused("is no readable image")
    mask.write_bytes(image.read_bytes())  # Pillow reads it, and it is no PNG
    refused("is no readable image")
    mask.write_bytes(good)
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(folder / "images" / "i0.gif")
    refused("holds i0.bmp and i0.gif: which has the mask")
    (folder / "images" / "i0.gif").unlink()
    outside = tmp_path / "secret.png"
    outside.write_bytes(good)
    mask.unlink()
    mask.symlink_to(outside)
    refused("leads outside .*; it is not read")
    mask.unlink()
    mask.write_bytes(good)
    image.unlink()
    refused("is the mask of no image in")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ra.DataError, match=r"the folder .*nowhere is not there"):
        ra.dataset(f"masks:{tmp_path / 'nowhere'}", normalize="none")
    (tmp_path / "images").mkdir()
    with pytest.raises(
        ra.DataError, match=r"looked for the folders images \+ masks, images \+ labels"
    ):
        ra.dataset(f"masks:{tmp_path}", normalize="none")
    for option in ("crop", "labels"):
        with pytest.raises(ra.DataError, match=f"--{option} is for files of images, folder:DIR"):
            ra.dataset(f"masks:{tmp_path}", normalize="none", **{option: 0.5})  # type: ignore[arg-type]
    with pytest.raises(ra.DataError, match="give --interpolation with --image-size"):
        ra.dataset(f"masks:{tmp_path}", normalize="none", interpolation="bicubic")
