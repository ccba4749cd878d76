"""Shapes are compared before memory is taken, whatever sizes a file implies."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resanalysis.checkpoint import CheckpointError, load, save_checkpoint
from resanalysis.checkpoint.filling import MOST_LAYERS, filled, made
from resanalysis.checkpoint.own import _LARGEST_OPTION, _LONGEST_OPTION
from resanalysis.errors import _LONGEST
from resanalysis.models.architecture import Architecture
from resanalysis.models.cifar_resnet import CifarResNet
from tests.conftest import ROOT, cifar


def written(path: Path, **changed: Tensor) -> Path:
    torch.save({**cifar(8).state_dict(), **changed}, path)
    return path


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"conv1.weight": torch.zeros(200_000, 3, 3, 3)}, r"44 have another shape|have another shape, first"),
        ({"linear.weight": torch.zeros(50_000_000, 1)}, r"have another shape, first linear.weight"),
        ({"linear.weight": torch.zeros(1, 1).expand(10**9, 16)}, r"claims 16,000,000,000 values and holds 1;"),
        ({"bn1.weight": torch.zeros(1).expand(4)}, r"bn1.weight claims 4 values and holds 1; save the"),
    ],
)  # fmt: skip
def test_large_shapes_take_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Tensor], message: str
) -> None:
    path = written(tmp_path / "m.pt", **changed)
    made_on: list[str] = []
    make = Architecture.make

    def watched(self: Architecture) -> nn.Module:
        made_on.append(torch.empty(0).device.type)
        return make(self)

    monkeypatch.setattr(Architecture, "make", watched)
    with pytest.raises(CheckpointError, match=message):
        load(path)
    assert set(made_on) <= {"meta"}


def test_more_layers_than_anyone_trains(tmp_path: Path) -> None:
    started = time.process_time()
    with pytest.raises(CheckpointError, match=r"6000002 layers is more than the 3,000 that are"):
        load(written(tmp_path / "m.pt"), arch="resnet6000002")
    state = dict(cifar(8).state_dict())
    for stage in (1, 2, 3):
        state |= {f"layer{stage}.{block}.conv1.weight": torch.zeros(0) for block in range(2000)}
    torch.save(state, tmp_path / "deep.pt")
    with pytest.raises(CheckpointError, match=r"a network of 12002 layers is more than"):
        load(tmp_path / "deep.pt")
    assert time.process_time() - started < 10


def test_a_model_that_looks_at_values_while_it_is_made_loads(tmp_path: Path) -> None:
    architecture = Architecture("torchvision:regnet_x_400mf", {"num_classes": 3})
    with pytest.raises(NotImplementedError), torch.device("meta"):
        architecture.make()
    state = architecture.make().state_dict()
    loaded = filled(architecture, state, tmp_path / "m.pt", named=True).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


def test_segmentation_models_fetch_no_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    with torch.device("meta"):
        model = made(Architecture("torchvision:lraspp_mobilenet_v3_large", {"num_classes": 3}), "m")
    assert isinstance(model, nn.Module)


def own(path: Path, **changed: Any) -> Path:
    save_checkpoint(
        path,
        CifarResNet(8, width=4),
        architecture=Architecture("cifar_resnet", {"depth": 8, "width": 4}),
    )
    torch.save(torch.load(path, weights_only=True) | changed, path)
    return path


def endless() -> list[Any]:
    nested: list[Any] = [1]
    for _ in range(45):
        nested = [nested, nested]
    return nested


ENDLESS, LARGE = "endless", "large"


def meant(record: dict[str, Any]) -> dict[str, Any]:
    """A record with what pytest should not write out in the place of a word."""
    there = {key: endless() if value == ENDLESS else value for key, value in record.items()}
    return {key: [10**400] if value == [LARGE] else value for key, value in there.items()}


VALUES = {  # made in the test: pytest writes out what it is given
    "list": endless,
    "tensor": lambda: torch.zeros(3),
    "number": lambda: 10**600,
    "dict": lambda: {"mean": 10**400},
}


@pytest.mark.parametrize("field", ["architecture", "version", "classes", "preprocessing"])
@pytest.mark.parametrize("value", VALUES)
def test_records_of_any_kind_get_an_answer(tmp_path: Path, field: str, value: str) -> None:
    started = time.perf_counter()
    with pytest.raises(CheckpointError, match=r"own.pt is a") as caught:
        load(own(tmp_path / "own.pt", **{field: VALUES[value]()}))
    assert len(str(caught.value)) < 600
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": ENDLESS}, r"options.depth should be a plain value or a short list, found list"),
        ({"depth": 8, "width": 10**9}, r"options.width should be 4096 or less, found int 1000000000"),
        ({"depth": 8, "classes": [1] * 65}, r"options.classes should be a plain value or a short list"),
        ({"depth": 8, "\x1b[2J": 10**9}, r"options.\\x1b\[2J should be 4096 or less"),
    ],
)  # fmt: skip
def test_options_of_a_record_are_plain_and_within_the_tensors(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    record = {"name": "cifar_resnet", "options": meant(options)}
    with pytest.raises(CheckpointError, match=message):
        load(own(tmp_path / "own.pt", architecture=record))


@pytest.mark.parametrize(
    ("preprocessing", "message"),
    [
        ({"mean": [LARGE], "std": [1]}, r"preprocessing.mean should be a list of numbers, found list"),
        ({"mean": [0], "std": [1], "input_size": [3, 10**9, 10**9]}, r"input_size should be whole numbers"),
        ({"mean": ENDLESS, "std": [1]}, r"preprocessing.mean should be a list of numbers, found list"),
    ],
)  # fmt: skip
def test_preprocessing_of_a_record(
    tmp_path: Path, preprocessing: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load(own(tmp_path / "own.pt", preprocessing=meant(preprocessing)))


def test_control_characters_of_a_file_are_written_out(tmp_path: Path) -> None:
    torch.save({"\x1b[2J\nfc.weight" + "x" * 10**6: torch.zeros(2)}, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=r"\(\\x1b\[2J\\nfc") as caught:
        load(tmp_path / "m.pt")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
    state = cifar(8).state_dict() | {"\x1b[31m": torch.zeros(1)}
    torch.save(state, tmp_path / "n.pt")
    with pytest.raises(CheckpointError, match=r"1 are not its own, first \\x1b\[31m"):
        load(tmp_path / "n.pt")


def test_the_page_on_trust_names_the_limits() -> None:
    page = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
    limits = page.partition("**Limits.**")[2].partition("\n\n")[0]
    for limit in (MOST_LAYERS, _LONGEST_OPTION, _LARGEST_OPTION, _LONGEST):
        assert f"{limit:,}" in limits
