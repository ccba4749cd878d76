"""The networks that ship: small enough, and as good as they say."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from resanalysis.checkpoint import load, read_checkpoint
from resanalysis.datasets import dataset
from resanalysis.models.names import architecture_named
from tests.conftest import ROOT

BUNDLED = Path(str(files("resanalysis") / "bundled"))
NAMES = sorted(path.stem for path in BUNDLED.glob("*.pt"))


def test_all_of_them_are_below_25_megabytes() -> None:
    assert sum(path.stat().st_size for path in BUNDLED.iterdir()) < 25e6
    readme = (BUNDLED / "README.md").read_text()
    assert all(f"`{name}.pt`" in readme for name in NAMES), "each has its row"
    brought = json.loads((BUNDLED / "test-data.json").read_text())
    assert set(brought) == set(NAMES), "each brings its data"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "resnet56-fashion-mnist"])
def test_a_network_that_ships_is_wrong_as_often_as_it_says(name: str) -> None:
    content = read_checkpoint(BUNDLED / f"{name}.pt")
    measured, preprocessing = content["measured"], content["preprocessing"]
    assert all(
        value.dtype is torch.float16
        for value in content["state_dict"].values()
        if value.is_floating_point()
    )
    assert abs(measured["test_error"] - measured["test_error_single_precision"]) < 0.001
    images = dataset(
        "bundled:fashion-mnist-test", mean=preprocessing["mean"], std=preprocessing["std"]
    )
    inputs, labels = images.batch(0, measured["first_shipped"])
    assert labels is not None
    with torch.no_grad():
        predicted = load(f"bundled:{name}")(inputs).argmax(1)
    assert int((predicted != labels).sum()) == measured["first_shipped_wrong"]


def test_the_script_that_trains_them_names_networks() -> None:
    script = (ROOT / "studies" / "networks.sh").read_text()
    names = re.findall(r"^train (\S+)", script, re.M)
    assert len(names) == 12
    assert all(architecture_named(name).own for name in names)
