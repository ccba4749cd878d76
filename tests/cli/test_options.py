"""Every common option of every command is honoured, or it is none of the command's options."""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from resanalysis.cli import app
from resanalysis.cli import subject as subjects
from resanalysis.cli.options import Output, Source
from resanalysis.experiments import EXPERIMENTS
from resanalysis.run.reading import Reading
from tests.conftest import cifar

GIVEN: dict[str, tuple[str, str | None, str, Any]] = {
    # field of Source: the option, its value, and the field of Reading that it becomes
    "arch": ("--arch", "resnet20", "arch", "resnet20"),
    "state": ("--state", "ema", "state", "ema"),
    "remap": ("--remap", None, "remap", True),
    "submodule": ("--submodule", "body", "submodule", "body"),
    "group": ("--group", "layer", "group", "layer"),
    "plain": ("--plain", None, "plain", True),
    "output_name": ("--output", "logits", "output", "logits"),
    "trust_pickle": ("--trust-pickle", None, "trust_pickle", True),
    "normalize": ("--normalize", "imagenet", "normalize", "imagenet"),
    "mean": ("--mean", "0.1,0.2", "mean", (0.1, 0.2)),
    "std": ("--std", "0.3,0.4", "std", (0.3, 0.4)),
    "image_size": ("--image-size", "96", "image_size", 96),
    "crop": ("--crop", "0.95", "crop", 0.95),
    "interpolation": ("--interpolation", "bicubic", "interpolation", "bicubic"),
    "labels": ("--labels", "imagenet", "labels", "imagenet"),
    "limit": ("--limit", "7", "limit", 7),
    "image_seed": ("--image-seed", "5", "image_seed", 5),
    "arithmetic": ("--arithmetic", "tf32", "arithmetic", "tf32"),
    "device": ("--device", "cuda:3", "device", "cuda:3"),
    "download": ("--download", None, "download", True),
    "stream_weights": ("--stream-weights", None, "stream_weights", True),
}
RUNNING = {"batch_size"}
COMMANDS = [one.stem for one in EXPERIMENTS if not one.command]


def options_of(command: str) -> set[str]:
    (found,) = (c for c in app.registered_commands if c.callback.__name__ == command)  # type: ignore[union-attr]
    parameters = found.callback.__signature__.parameters  # type: ignore[union-attr]
    return set(parameters)


def test_every_field_is_looked_at() -> None:
    assert {field.name for field in fields(Source)} == set(GIVEN) | RUNNING
    assert all(field.default is not MISSING for field in (*fields(Source), *fields(Output)))


@pytest.mark.parametrize("command", COMMANDS)
def test_options_that_say_how_to_read_arrive(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[Reading] = []

    class Seen(Exception):
        pass

    read = subjects.reading

    def noted(*arguments: Any, **named: Any) -> Reading:
        seen.append(read(*arguments, **named))
        raise Seen

    for module in (subjects, __import__("resanalysis.cli.response", fromlist=["reading"])):
        monkeypatch.setattr(module, "reading", noted)
    there = options_of(command)
    words = [command, "m.pt", "--out", str(tmp_path)]
    known: list[str] = []
    for name, (option, value, _, _) in GIVEN.items():
        said = [option, *([] if value is None else [value])]
        if name in there:
            known += said
            continue
        result = CliRunner().invoke(app, [*words, *said])
        assert result.exit_code == 2, (command, option)
        assert "No such option" in result.stderr
    result = CliRunner().invoke(app, [*words, *known])
    assert "Seen" in result.stderr, (command, result.output)
    for name, (option, _, field, expected) in GIVEN.items():
        assert name not in there or getattr(seen[-1], field) == expected, (command, option)
    if "seed" in there:
        CliRunner().invoke(app, [command, "m.pt", "--seed", "9", "--out", str(tmp_path)])
        assert seen[-1].image_seed == 9


@pytest.mark.parametrize("command", [c for c in COMMANDS if "batch_size" in options_of(c)])
def test_the_batch_size_arrives(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import numpy as np

    from resanalysis.experiments.experiment import Experiment

    sizes: list[Any] = []

    def measure(_: Experiment, __: Any, **options: Any) -> None:
        sizes.append(options.get("batch_size"))
        raise RuntimeError("seen")

    monkeypatch.setattr(Experiment, "measure", measure)
    model, data = tmp_path / "m.pt", tmp_path / "d.npz"
    torch.save(cifar(8).state_dict(), model)
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 16, 16), dtype=np.uint8)
    np.savez(data, images=images, labels=np.arange(6) % 5)
    words = [command, str(model), "--data", str(data), "--normalize", "none", "--batch-size", "3"]
    result = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out")])
    assert sizes == [3], result.output
