"""An architecture and data by name → a trained checkpoint, recorded in a run folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from resanalysis.checkpoint import (
    CheckpointError,
    DataRecord,
    Preprocessing,
    sample_of,
    save_checkpoint,
)
from resanalysis.datasets import DataError, Dataset, dataset
from resanalysis.models.architecture import Architecture
from resanalysis.models.names import architecture_named
from resanalysis.models.survival import set_survival, survivals
from resanalysis.run.folder import Run
from resanalysis.run.model_data import SAMPLE_BYTES
from resanalysis.statistics.path_length import parsed_survival
from resanalysis.training.examples import Examples
from resanalysis.training.loop import train
from resanalysis.training.recipe import Recipe

SPLIT = ("fashion-mnist", "mnist", "cifar10", "cifar100")


def train_network(
    run: Run,
    arch: str,
    data: str,
    *,
    test_data: str | None = None,
    recipe: Recipe,
    options: Mapping[str, Any] | None = None,
    stochastic_depth: str | None = None,
    with_gradient_norms: bool = False,
    with_sample: bool = True,
    seed: int = 0,
    device: str | None = None,
    show_progress: bool = False,
) -> tuple[pd.DataFrame, Path]:
    """Train a CIFAR residual network and write ``ARCH.pt`` and ``history.csv``.

    Images are normalised by the training set's own mean and deviation of each channel. A run that was
    interrupted goes on after its last whole epoch.

    Parameters
    ----------
    arch : ``resnet56``, ``resnet110v2``…: any depth 6n + 2.
    data, test_data : as ``dataset`` takes them; ``test_data`` is needed where ``data`` has no test part.
    with_sample : whether the checkpoint carries examples of the test part: at most 2,000, of at most 1 MB.

    Returns
    -------
    DataFrame, Path : the history, one row per epoch, and the checkpoint.

    Raises
    ------
    CheckpointError, DataError : for an architecture or data that do not fit.
    """
    if test_data is None and data.partition(":")[0] not in SPLIT:
        raise DataError(
            f"{data} has no test part of its own: name one with --test-data, or train on "
            f"{', '.join(f'{name}:DIR' for name in SPLIT)}"
        )
    training, training_set = _examples(data, "train")
    test, test_set = _examples(test_data or data, "test", of=training)
    if training.images.shape[1:] != test.images.shape[1:]:
        raise DataError(
            f"images of {training.images.shape[1:]} to train on and of {test.images.shape[1:]} to test "
            "on: they must have one shape"
        )
    classes, channels = int(training.labels.max()) + 1, training.images.shape[1]
    architecture = _architecture(
        arch, {**(options or {}), "classes": classes, "channels": channels}
    )
    torch.manual_seed(seed)
    architecture, model = _made(architecture, recipe.train_units, stochastic_depth)
    recorded: dict[str, Any] = {"arch": str(architecture), "data": data, "test_data": test_data}
    recorded |= {"options": dict(architecture.options), "recipe": asdict(recipe)}
    digests = {"data": training_set.sha256, "test": test_set.sha256, "seed": seed}
    state = train(
        model,
        training,
        test,
        recipe=recipe,
        seed=seed,
        device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
        state_file=run.store({**recorded, **digests}).folder / "state.pt",
        with_gradient_norms=with_gradient_norms,
        show_progress=show_progress,
    )
    history = state.history
    frame = pd.DataFrame(history)
    path = save_checkpoint(
        run.out / f"{architecture}.pt",
        model,
        architecture=architecture,
        preprocessing=Preprocessing(
            tuple(training.mean), tuple(training.std), tuple(training.images.shape[1:])
        ),
        classes=training_set.classes,
        tested=DataRecord(
            test_data or data,
            "test",
            replace(test_set, mean=tuple(training.mean), std=tuple(training.std)).sha256,
            len(test_set),
        ),
        sample=sample_of(test_set, SAMPLE_BYTES) if with_sample else None,
        recipe=asdict(recipe),
        seed=seed,
        data=data,
        history=[{key: float(value) for key, value in row.items()} for row in history],
    )
    run.keep_table("history", frame)
    if with_gradient_norms:
        run.keep_table("gradient_norms", pd.DataFrame(state.gradient_norms))
    run.files.append(path)
    run.finish(
        options=recorded,
        seed=seed,
        data_sha256=training_set.sha256,
        n=len(training),
        timings={"train": float(sum(row["seconds"] for row in history))},
        facts={"test_error": history[-1]["test_error"], "test_n": len(test)},
    )
    return frame, path


def channel_statistics(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of images (N, C, H, W), scaled to [0, 1]."""
    counts = [np.bincount(images[:, c].ravel(), minlength=256) for c in range(images.shape[1])]
    levels = np.arange(256) / 255
    means = [float(np.average(levels, weights=count)) for count in counts]
    spreads = [
        float(np.sqrt(np.average((levels - mean) ** 2, weights=count)))
        for mean, count in zip(means, counts, strict=True)
    ]
    return tuple(round(m, 4) for m in means), tuple(round(s, 4) or 1.0 for s in spreads)


def _examples(
    name: str, split: Literal["train", "test"], *, of: Examples | None = None
) -> tuple[Examples, Dataset]:
    """Labelled images, normalised as those of ``of`` or by their own statistics."""
    data = dataset(name, normalize="none", split=split)
    if data.labels is None or data.mean is None:
        raise DataError(f"{name} has no labels to train with, or holds no images")
    images = np.ascontiguousarray(data.source.read(data.indices), dtype=np.uint8)
    mean, std = channel_statistics(images) if of is None else (of.mean, of.std)
    return Examples(images, data.labels, mean, std), data


def _architecture(arch: str, options: Mapping[str, Any]) -> Architecture:
    try:
        named = architecture_named(arch)
    except ValueError as error:
        raise CheckpointError(str(error)) from None
    if not named.own:
        raise CheckpointError(
            f"cannot train {arch}: training knows the networks for small images, such as resnet56, "
            f"resnet110v2, plain56 and cifar_vgg16; {arch} is torchvision's"
        )
    return Architecture(named.name, {**named.options, **options})


def _made(
    architecture: Architecture, train_units: int | None, stochastic_depth: str | None
) -> tuple[Architecture, nn.Module]:
    """The model with random weights, and its architecture with every unit's survival in it."""
    try:
        model = architecture.make()
        count = len(survivals(model))
        probabilities: list[float] | None = None
        if train_units is not None:
            if not 0 < train_units <= count:
                raise ValueError(f"{train_units} of {count} units cannot be trained a batch")
            probabilities = [train_units / count] * count
        elif stochastic_depth is not None:
            probabilities = parsed_survival(stochastic_depth, count)
        if probabilities is not None:
            set_survival(model, probabilities)
            architecture = Architecture(
                architecture.name, {**architecture.options, "survival": probabilities}
            )
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"cannot train {architecture}: {error}") from None
    return architecture, model
