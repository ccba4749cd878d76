"""Hostile files of Keras, each made from a seed: damaged, oddly described, with code or other files."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from tests.hostile.canary import Canary
from tests.hostile.mutations import BYTES, deflated, rezipped

SUFFIXES = ("keras", "h5")
WEIGHTS = "model.weights.h5"


@cache
def whole(suffix: str) -> bytes:
    """An honest file: a stem, two units and a head."""
    from tempfile import TemporaryDirectory

    from resanalysis.checkpoint.keras_models import keras_on_torch

    keras = keras_on_torch()
    layers = keras.layers
    image = keras.Input((8, 8, 3))
    h = layers.Conv2D(4, 3, padding="same", name="stem")(image)
    for n in range(2):
        f = layers.Conv2D(4, 3, padding="same", name=f"block{n}_conv")(h)
        h = layers.Add(name=f"block{n}_add")([h, layers.BatchNormalization(name=f"block{n}_bn")(f)])
    head = layers.Dense(5, name="head")(layers.GlobalAveragePooling2D()(h))
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"whole.{suffix}"
        keras.Model(image, head).save(path)
        return path.read_bytes()


def redescribed(content: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """A ``.keras`` file whose description is another, with right checksums."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.namelist():
            data = old.read(entry)
            if entry == "config.json":
                described = json.loads(data)
                change(described)
                data = json.dumps(described).encode()
            new.writestr(entry, data)
    return buffer.getvalue()


def rewritten(content: bytes, change: Callable[[Any], None]) -> bytes:
    """A ``.keras`` file whose weights are others."""
    import h5py

    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.namelist():
            data = old.read(entry)
            if entry == WEIGHTS:
                weights = io.BytesIO(data)
                with h5py.File(weights, "r+") as file:
                    change(file)
                data = weights.getvalue()
            new.writestr(entry, data)
    return buffer.getvalue()


def damaged(random: Random, _: Canary) -> tuple[str, bytes]:
    suffix = random.choice(SUFFIXES)
    return suffix, random.choice(BYTES)(whole(suffix), random)


def damaged_inside(random: Random, _: Canary) -> tuple[str, bytes]:
    return "keras", random.choice((rezipped, rezipped, deflated))(whole("keras"), random)


def odd_description(random: Random, _: Canary) -> tuple[str, bytes]:
    """One value in the description is another: a size that nobody has memory for, another kind, text."""

    def change(described: dict[str, Any]) -> None:
        layer = random.choice(described["config"]["layers"])
        field = random.choice([*layer["config"], "units", "filters", "unknown"])
        odd = (10**9, 10**12, -1, 0, 1e300, None, "\x1b[2J", [[]], {}, "x" * 10**5, True)
        layer["config"][field] = random.choice(odd)

    return "keras", redescribed(whole("keras"), change)


def code(random: Random, canary: Canary) -> tuple[str, bytes]:
    """A description that names a function of Python's, or of a library's, as if it were a layer."""
    touch = f"__import__('pathlib').Path({str(canary.file)!r}).touch()"
    function, argument = random.choice(
        (("builtins.eval", touch), ("builtins.exec", touch), ("os.system", f"touch {canary.file}"),
         ("pathlib.Path.touch", str(canary.file)), ("keras.utils.get_file", "http://192.0.2.1/x"))
    )  # fmt: skip
    room, _, name = function.rpartition(".")
    entry = {"module": room, "class_name": name, "config": argument, "registered_name": name}

    def change(described: dict[str, Any]) -> None:
        layer = random.choice(described["config"]["layers"])
        if random.random() < 0.5:
            layer |= entry
        else:
            layer["config"][random.choice([*layer["config"], "activation"])] = entry

    return "keras", redescribed(whole("keras"), change)


def other_files(random: Random, canary: Canary) -> tuple[str, bytes]:
    """Weights that say they lie in a file outside, or that unpack to more than anybody has."""
    import h5py

    kind = random.choice(("link", "external", "huge"))

    def change(file: Any) -> None:
        there = file["layers/dense/vars"]
        name = random.choice(("0", "more"))
        if name in there:
            del there[name]
        if kind == "link":
            there[name] = h5py.ExternalLink("/etc/hostname", "/")
        elif kind == "external":
            outside = [("/etc/hostname", 0, 80)]
            there.create_dataset(name, (4, 5), "f4", external=outside)
        else:
            there.create_dataset(name, (10**6, 10**6), "f4", chunks=(1000, 1000))

    return "keras", rewritten(whole("keras"), change)


KINDS = (damaged, damaged, damaged_inside, odd_description, code, other_files)


def made(seed: int, canary: Canary, folder: Path) -> tuple[str, Path]:
    """The kind and the file of a seed."""
    random = Random(f"keras {seed}")
    kind = KINDS[seed % len(KINDS)]
    suffix, content = kind(random, canary)
    path = folder / f"{kind.__name__}-{seed}.{suffix}"
    path.write_bytes(content)
    return kind.__name__, path
