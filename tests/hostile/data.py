"""Hostile data sets, each made from a seed, in every layout that is read."""

from __future__ import annotations

import gzip
import io
import pickle
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from tests.hostile.canary import PAYLOADS, Canary, Payload
from tests.hostile.mutations import BYTES, deflated, rezipped

N = 5


@cache
def images(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (N, 3, size, size), dtype=np.uint8)


def npz(compressed: bool = False, **arrays: Any) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def idx(values: np.ndarray) -> bytes:
    start = b"\0\0\x08" + bytes([values.ndim]) + np.array(values.shape, ">i4").tobytes()
    return start + values.astype(np.uint8).tobytes()


def picture(random: Random) -> tuple[str, bytes]:
    """An image of any format that is read, and a few that are not."""
    buffer = io.BytesIO()
    format_, suffix = random.choice(
        (("PNG", "png"), ("JPEG", "jpg"), ("GIF", "gif"), ("BMP", "bmp"), ("TIFF", "tif"),
         ("WEBP", "webp"), ("PPM", "ppm"), ("EPS", "png"), ("PDF", "jpg"), ("ICO", "gif"))
    )  # fmt: skip
    image = Image.fromarray(images(20)[random.randrange(N)].transpose(1, 2, 0))
    image.save(buffer, format=format_)
    return suffix, buffer.getvalue()


def hurt(content: bytes, random: Random) -> bytes:
    return random.choice(BYTES)(content, random)


def arrays(random: Random, canary: Canary, folder: Path) -> str:
    """An npz of images or tokens: damaged, or with arrays of other kinds and shapes."""
    labels: Any = np.arange(N) % 3
    content: dict[str, Any] = {"images": images(8), "labels": labels, "mean": [0.5], "std": [0.5]}
    tokens = random.random() < 0.3
    if tokens:
        content = {"input_ids": np.ones((N, 6), int), "attention_mask": np.ones((N, 6), int)}
    path = folder / "d.npz"
    if random.random() < 0.5:
        whole = npz(compressed=random.random() < 0.5, **content)
        path.write_bytes(random.choice((hurt, rezipped, deflated))(whole, random))
    else:
        odd: tuple[Any, ...] = (
            images(8) / 255, images(8)[:, :2], images(8)[:0], np.array("x"), labels - 9,
            labels / 2, np.array([Payload(canary, random.choice(PAYLOADS))] * N, dtype=object),
            np.array([10**400, None], dtype=object), np.zeros((N, 0, 0), int), labels[:-1],
            np.full(N, 2**64 - 1, np.uint64), np.array([1e300]), np.array([np.nan]),
            np.zeros(N, [("a", "u1")]), np.zeros(N, "M8[s]"), images(8) > 300,
        )  # fmt: skip
        content[random.choice([*content, "classes", "\x1b[2J"])] = random.choice(odd)
        path.write_bytes(npz(**content))
    return f"tokens:{path}" if tokens else str(path)


def cifar(random: Random, canary: Canary, folder: Path) -> str:
    flat, labels = images(32).reshape(N, -1), [1, 2, 3, 4, 5]
    if random.random() < 0.3:
        rows = np.concatenate([np.array(labels, np.uint8)[:, None], flat], axis=1)
        (folder / "test_batch.bin").write_bytes(hurt(rows.tobytes(), random))
        return f"cifar10:{folder}"
    content: dict[bytes, Any] = {b"data": flat, b"labels": labels}
    if random.random() < 0.6:
        odd: tuple[Any, ...] = (
            flat / 255, flat.astype(int), flat[:, 1:], [0.5] * N, ["a"] * N, None, [99] * N, {},
            Payload(canary, random.choice(PAYLOADS)), 10**400, np.zeros((N, 3072), object),
        )  # fmt: skip
        content[random.choice((b"data", b"labels"))] = random.choice(odd)
    batch = pickle.dumps(content, protocol=random.randint(0, 5))
    (folder / "test_batch").write_bytes(batch if random.random() < 0.5 else hurt(batch, random))
    return f"cifar10:{folder}"


def mnist(random: Random, canary: Canary, folder: Path) -> str:
    for name, values in (("images-idx3", images(8)[:, 0]), ("labels-idx1", np.arange(N))):
        content = idx(values)
        if random.random() < 0.6:
            content = hurt(content, random)
        zipped = random.random() < 0.5
        if zipped:
            content = gzip.compress(content)
            content = hurt(content, random) if random.random() < 0.3 else content
        (folder / f"t10k-{name}-ubyte{'.gz' if zipped else ''}").write_bytes(content)
    return f"fashion-mnist:{folder}"


def pictures(random: Random, canary: Canary, folder: Path) -> str:
    for name in ("cat", random.choice(("dog", ".hidden", "__MACOSX", "d\x1b[2Jog"))):
        (folder / name).mkdir()
        for n in range(random.randint(0, 2)):
            suffix, content = picture(random)
            content = hurt(content, random) if random.random() < 0.6 else content
            (folder / name / f"{n}.{suffix}").write_bytes(content)
    return f"folder:{folder}"


def masks(random: Random, canary: Canary, folder: Path) -> str:
    """Images and masks: of other sizes, colours or formats, damaged, or without one another."""
    for name in ("images", random.choice(("masks", "annotations"))):
        (folder / name).mkdir()
        for n in range(random.randint(1, 2)):
            suffix, content = picture(random)
            if name != "images":
                suffix, buffer = "png", io.BytesIO()
                size = random.choice(((20, 20), (20, 20), (7, 20)))
                numbers = np.random.default_rng(n).integers(0, 9, size, dtype=np.uint8)
                Image.fromarray(numbers).save(buffer, "PNG")
                content = random.choice((content, buffer.getvalue(), buffer.getvalue()))
            content = hurt(content, random) if random.random() < 0.4 else content
            (folder / name / f"{n}.{suffix}").write_bytes(content)
    return f"masks:{folder}"


KINDS = (arrays, cifar, mnist, pictures, arrays, masks)


def made(seed: int, canary: Canary, folder: Path) -> tuple[str, str]:
    """The kind and the name for ``--data`` of a seed."""
    place = folder / str(seed)
    place.mkdir()
    kind = KINDS[seed % len(KINDS)]
    return kind.__name__, kind(Random(f"data {seed}"), canary, place)
