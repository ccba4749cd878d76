"""Hostile checkpoints, each made from a seed: damaged bytes, odd records, odd tensors, code."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from resanalysis.checkpoint import Preprocessing, save_checkpoint
from resanalysis.models.architecture import Architecture
from tests.conftest import cifar
from tests.hostile.canary import PAYLOADS, Canary, Payload
from tests.hostile.mutations import BYTES, deflated, rezipped

OPTIONS = {"depth": 8, "width": 4, "classes": 5}


def written(content: object, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


@cache
def whole(kind: str) -> bytes:
    """An honest file of each kind."""
    model = cifar(8)
    if kind == "safetensors":
        return save({key: value.contiguous() for key, value in model.state_dict().items()})
    if kind == "pt2":
        buffer = io.BytesIO()
        torch.export.save(torch.export.export(model, (torch.zeros(2, 3, 8, 8),)), buffer)
        return buffer.getvalue()
    if kind == "old":
        return written(model.state_dict(), _use_new_zipfile_serialization=False)
    return written(own() if kind == "own" else model.state_dict())


def own(**changed: Any) -> dict[str, Any]:
    """The content of our own kind of checkpoint."""
    return {
        "format": "resanalysis-checkpoint",
        "version": 1,
        "architecture": {"name": "cifar_resnet", "options": OPTIONS},
        "state_dict": cifar(8).state_dict(),
        "classes": list("abcde"),
        "preprocessing": {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 8, 8]},
        "test_data": {"source": "x.npz", "split": "test", "sha256": "0" * 64, "n": 2},
        "sample": {
            "images": torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
            "labels": torch.zeros(2, dtype=torch.long),
            "chosen": "",
        },
    } | changed


def damaged(random: Random, _: Canary) -> tuple[str, bytes]:
    kind = random.choices(("pt", "own", "old", "safetensors", "pt2"), (4, 3, 3, 3, 1))[0]
    suffix = kind if kind in ("safetensors", "pt2") else random.choice(("pt", "pth", "th", "ckpt"))
    return suffix, random.choice(BYTES)(whole(kind), random)


def damaged_inside(random: Random, _: Canary) -> tuple[str, bytes]:
    """Zip archives whose checksums are right and whose records are not."""
    kind = random.choices(("pt", "own", "pt2"), (4, 4, 1))[0]
    damage = random.choice((rezipped, rezipped, deflated))
    return ("pt2" if kind == "pt2" else "pt"), damage(whole(kind), random)


def endless() -> list[Any]:
    nested: list[Any] = [1]
    for _ in range(45):
        nested = [nested, nested]
    return nested


def odd_value(random: Random) -> object:
    makers: tuple[Callable[[], object], ...] = (
        endless,
        lambda: 10 ** random.randint(1, 600),
        lambda: -random.random(),
        lambda: float("nan"),
        lambda: "\x1b[2J\n" * random.randint(1, 50),
        lambda: torch.zeros(random.randint(0, 3)),
        lambda: {},
        lambda: {"a": [None]},
        lambda: [random.randint(-3, 10**9) for _ in range(random.randint(0, 200))],
        lambda: None,
        lambda: True,
        lambda: b"bytes",
    )
    return random.choice(makers)()


def odd_record(random: Random, _: Canary) -> tuple[str, bytes]:
    """Our own kind of checkpoint with one or two fields of another kind."""
    content = own()
    for _n in range(random.randint(1, 2)):
        place: Any = content
        key = random.choice([*content, "unknown"])
        if isinstance(content.get(key), dict) and key != "state_dict" and random.random() < 0.7:
            place = content[key] = dict(content[key])
            key = random.choice([*place, "unknown"])
            if isinstance(place.get(key), dict):
                place[key] = place = dict(place[key])
                key = random.choice([*place, "width", "channels", "shortcut", "weights", "wide"])
        place[key] = odd_value(random)
    return "pt", written(content)


def odd_tensors(random: Random, _: Canary) -> tuple[str, bytes]:
    """A state dict in which one tensor is missing, renamed, or other than it should be."""
    state: dict[Any, Any] = dict(cifar(8).state_dict())
    for _n in range(random.randint(1, 2)):
        key = random.choice(list(state))
        state = _with_another(state, key, random)
    if random.random() < 0.3:
        return "pt", written({"model": state, "ema": dict(cifar(8).state_dict()), "epoch": 3})
    return "pt", written(state)


def _with_another(state: dict[Any, Any], key: Any, random: Random) -> dict[Any, Any]:
    value = state[key]
    if not isinstance(value, Tensor):
        return state
    other: tuple[Callable[[], object], ...] = (
        lambda: torch.zeros(random.choice((0, 1, 7, 60_000)), *value.shape[1:]),
        lambda: torch.zeros(1).expand(10**9, *value.shape[1:]),
        lambda: value.to(torch.complex64),
        lambda: value.long(),
        lambda: value * float("nan"),
        lambda: value.half(),
        lambda: value.to("meta"),
        lambda: odd_value(random),
    )
    what = random.randrange(4)
    if what == 0:
        return {k: v for k, v in state.items() if k != key}
    if what == 1:
        name = random.choice(("\x1b]0;title\x07", "x" * 10**5, "fc.weight", 3, f"layer9.{key}", ""))
        return state | {name: value}
    return state | {key: random.choice(other)()}


def code(random: Random, canary: Canary) -> tuple[str, bytes]:
    """A pickle that runs something when it is read, in a file of any suffix."""
    payload = Payload(canary, random.choice(PAYLOADS))
    state: dict[Any, Any] = dict(cifar(8).state_dict())
    content = random.choice(
        (payload, {"state_dict": payload}, [payload], state | {"x": payload}, own(classes=payload))
    )
    suffix = random.choice(("pt", "pth", "th", "ckpt", "bin", "tar", "safetensors", "pt2", "x"))
    if random.random() < 0.4:
        return suffix, pickle.dumps(content, protocol=random.randint(0, 5))
    return suffix, written(content, _use_new_zipfile_serialization=random.random() < 0.7)


KINDS = (damaged, damaged, damaged_inside, odd_record, odd_tensors, code)


def made(seed: int, canary: Canary, folder: Path) -> tuple[str, Path]:
    """The kind and the file of a seed."""
    random = Random(f"checkpoint {seed}")
    torch.manual_seed(seed)
    kind = KINDS[seed % len(KINDS)]
    suffix, content = kind(random, canary)
    path = folder / f"{kind.__name__}-{seed}.{suffix}"
    path.write_bytes(content)
    return kind.__name__, path


def honest(folder: Path) -> list[Path]:
    """Files that must load, so that no check refuses everything."""
    paths = []
    for kind in ("pt", "own", "old", "safetensors", "pt2"):
        path = folder / f"honest-{kind}.{kind if kind in ('safetensors', 'pt2') else 'pt'}"
        path.write_bytes(whole(kind))
        paths.append(path)
    saved = save_checkpoint(
        folder / "honest.pt",
        cifar(8),
        architecture=Architecture("cifar_resnet", OPTIONS),
        preprocessing=Preprocessing((0.5,), (0.5,), (3, 8, 8)),
    )
    return [*paths, saved]
