"""A trained checkpoint → the half-precision one that ships, with what it gets wrong counted anew.

    python studies/ship.py results/networks/plain56/plain56.pt plain56-fashion-mnist DATA

Writes resanalysis/bundled/NAME.pt and prints its row for the README there. The counts are of what was
written and read back, on the whole test set and on the first images that ship.
"""

from __future__ import annotations

import argparse
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resanalysis.checkpoint import load, read_checkpoint, save_checkpoint
from resanalysis.datasets import Dataset, dataset
from resanalysis.models.architecture import Architecture

# As many of the shipped images as a test can classify in a second or two.
SHIPPED_IMAGES = 200


def predictions(model: nn.Module, data: Dataset) -> Tensor:
    """The class of every example, (N,)."""
    with torch.no_grad():
        parts = [
            model(data.batch(start, min(start + 500, len(data)))[0]).argmax(1)
            for start in range(0, len(data), 500)
        ]
    return torch.cat(parts)


def wrong(predicted: Tensor, data: Dataset) -> int:
    """How many examples are classified wrongly."""
    assert data.labels is not None
    return int((predicted.numpy() != data.labels).sum())


def ship(checkpoint: Path, name: str, data: str, machine: str) -> str:
    """Write the checkpoint that ships; its row of the README's table."""
    model = load(checkpoint)
    info: Any = model.resanalysis
    content = read_checkpoint(checkpoint)
    record = content["architecture"]
    test, shipped = (
        dataset(spec, mean=info.preprocessing.mean, std=info.preprocessing.std)
        for spec in (data, "bundled:fashion-mnist-test")
    )
    single = predictions(model, test)
    path = Path(str(files("resanalysis") / "bundled")) / f"{name}.pt"
    # What it was trained from before, where it was, with that training's history.
    kept = ("recipe", "seed", "data", "history", "began_with")
    facts: dict[str, Any] = {key: content[key] for key in kept if key in content}

    def write(measured: dict[str, Any]) -> None:
        save_checkpoint(
            path,
            model,
            architecture=Architecture(record["name"], record["options"]),
            preprocessing=info.preprocessing,
            classes=info.classes,
            half=True,
            measured=measured,
            **facts,
        )

    write({})
    halved = load(path)
    half, few = predictions(halved, test), predictions(halved, shipped)
    first = few[:SHIPPED_IMAGES].numpy()
    assert shipped.labels is not None
    measured = {
        "data": "Fashion-MNIST test set",
        "n": len(test),
        "test_error": wrong(half, test) / len(test),
        "test_error_single_precision": wrong(single, test) / len(test),
        "predictions_changed_by_halving": int((half != single).sum()),
        "shipped_error": wrong(few, shipped) / len(shipped),
        "first_shipped": SHIPPED_IMAGES,
        "first_shipped_wrong": int(np.sum(first != shipped.labels[:SHIPPED_IMAGES])),
        "machine": machine,
    }
    write(measured)
    trainings = [*([facts["began_with"]] if "began_with" in facts else []), facts]
    minutes = sum(row["seconds"] for part in trainings for row in part["history"]) / 60
    epochs = " + ".join(f"{part['recipe']['epochs']:g}" for part in trainings)
    row = (
        f"| `{name}.pt` | {info.architecture}, width {record['options'].get('width', 16)} | "
        f"{epochs} | 60,000 | {facts['seed']} | {minutes:.0f} min | "
        f"{measured['test_error_single_precision']:.2%} | {measured['test_error']:.2%} | "
        f"{measured['predictions_changed_by_halving']} | {measured['shipped_error']:.2%} |"
    )
    return row.replace("%", " %")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("name")
    parser.add_argument("data", help="fashion-mnist:DIR")
    parser.add_argument("--machine", default="two shared CPU cores")
    options = parser.parse_args()
    print(ship(options.checkpoint, options.name, options.data, options.machine))


if __name__ == "__main__":
    main()
