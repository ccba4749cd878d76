"""Which tensors of a file are meant: never silently one of two."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resanalysis.checkpoint import CheckpointError, load
from tests.conftest import cifar

STATE = cifar(8).state_dict()
OTHER = {key: value + 1 for key, value in STATE.items()}


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def holds(model: nn.Module, state: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("kept", "added"),
    [("linear.weight", "fc.weight"), ("fc.weight", "linear.weight")],
)
def test_two_names_for_one_tensor(tmp_path: Path, kept: str, added: str) -> None:
    state = {kept if key == "linear.weight" else key: value for key, value in STATE.items()}
    state[added] = torch.zeros(5, 16)
    with pytest.raises(
        CheckpointError,
        match=rf"two tensors for linear.weight: {kept} and {added}; leave out the one",
    ):
        load(saved(tmp_path / "m.pt", state))


@pytest.mark.parametrize(
    ("content", "chosen", "others"),
    [
        ({"model": STATE, "ema": OTHER}, "model", ["ema"]),
        ({"model": OTHER, "state_dict": STATE}, "state_dict", ["model"]),
        ({"state_dict": STATE, "averaged weights": OTHER}, "state_dict", ["averaged weights"]),
        ({**OTHER, "model": STATE}, "model", ["."]),
        ({"state_dict": {"model": STATE, "ema": OTHER}}, "state_dict.model", ["state_dict.ema"]),
        ({"net": {f"module.{k}": v for k, v in STATE.items()}, "ema": OTHER}, "net", ["ema"]),
    ],
)
def test_of_several_state_dicts_the_user_learns_which(
    tmp_path: Path, content: dict[str, Any], chosen: str, others: list[str]
) -> None:
    path = saved(tmp_path / "m.pt", content)
    with pytest.warns(UserWarning, match=rf"different weights: {chosen} is read, and not "):
        assert holds(load(path), STATE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert holds(load(path, state=chosen), STATE)
        for other in others:
            assert holds(load(path, state=other), OTHER)
    with pytest.raises(CheckpointError, match=r"holds no state dict 'x'; there are .*" + chosen):
        load(path, state="x")


def test_what_lies_beside_a_state_dict_is_no_other_model(tmp_path: Path) -> None:
    content = {
        "state_dict": STATE,
        "ema": {key: value.clone() for key, value in STATE.items()},  # the same weights
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3, 3)}}, "param_groups": [{"lr": 0.1}]},
        "best": torch.tensor(91.0),
        "history": torch.ones(7),
        "scaler": {"scale": torch.tensor(2.0)},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert holds(load(saved(tmp_path / "m.pt", content)), STATE)


def test_state_and_remap_are_for_state_dicts() -> None:
    for options, said in (({"state": "ema"}, "--state ema"), ({"remap": True}, "--remap")):
        with pytest.raises(CheckpointError, match=rf"{said} is for state dicts, and .* is a check"):
            load("bundled:resnet56-fashion-mnist", **options)  # type: ignore[arg-type]
