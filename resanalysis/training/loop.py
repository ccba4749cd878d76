"""The training loop: one recipe, one seed, a state file that lets an interrupted run go on."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from resanalysis.models.survival import leave_out
from resanalysis.progress import progress_bar
from resanalysis.training.augment import random_crop, random_flip
from resanalysis.training.recipe import Recipe


def normalised(images: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Float tensor (N, C, H, W) of uint8 images, in [0, 1] before ``mean`` and ``std`` are applied."""
    scale = torch.tensor(std).view(1, -1, 1, 1)
    return (torch.from_numpy(images).float() / 255 - torch.tensor(mean).view(1, -1, 1, 1)) / scale


def test_error(
    model: nn.Module,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    batch_size: int = 500,
) -> float:
    """Fraction of images the model classifies wrongly, in eval mode and single precision."""
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    wrong = 0
    with torch.no_grad():
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            predicted = model(normalised(images[part], mean, std).to(device)).argmax(1).cpu()
            wrong += int((predicted != torch.from_numpy(labels[part])).sum())
    model.train(training)
    return wrong / len(images)


def train(
    model: nn.Module,
    train_images: NDArray[np.uint8],
    train_labels: NDArray[np.int64],
    test_images: NDArray[np.uint8],
    test_labels: NDArray[np.int64],
    *,
    recipe: Recipe,
    mean: Sequence[float],
    std: Sequence[float],
    seed: int = 0,
    device: str = "cpu",
    state_file: Path | None = None,
    show_progress: bool = True,
) -> list[dict[str, float]]:
    """Train ``model`` in place and return one row of history per epoch.

    Parameters
    ----------
    model : an initialised classifier of (N, C, H, W) images.
    train_images, test_images : uint8 arrays (N, C, H, W).
    train_labels, test_labels : int64 arrays (N,).
    recipe, mean, std, seed : with the data, they decide the result.
    state_file : written after each epoch and read at the start: an interrupted run goes on from it.

    Returns
    -------
    list of dict : ``epoch``, ``rate``, ``train_loss``, ``train_error``, ``test_error``, ``seconds``.

    Raises
    ------
    ValueError : if ``state_file`` is of another recipe or seed.
    FloatingPointError : if the loss stops being finite.
    """
    model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimiser = torch.optim.SGD(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain}],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
    )
    generator = torch.Generator().manual_seed(seed)
    steps_per_epoch = len(train_images) // recipe.batch_size or 1
    epochs = math.ceil(recipe.epochs)
    history: list[dict[str, float]] = []
    if state_file is not None and state_file.exists():
        history = _restore(state_file, model, optimiser, generator, recipe, seed)

    total = math.ceil(recipe.epochs * steps_per_epoch)
    with progress_bar(
        "training", total, show=show_progress, done=min(total, len(history) * steps_per_epoch)
    ) as advance:
        for epoch in range(len(history), epochs):
            started = time.perf_counter()
            order = torch.randperm(len(train_images), generator=generator)
            model.train()
            loss_sum = torch.zeros((), device=device)
            wrong = torch.zeros((), device=device)
            steps = min(steps_per_epoch, total - epoch * steps_per_epoch)
            rate = 0.0
            for index in range(steps):
                batch = order[index * recipe.batch_size : (index + 1) * recipe.batch_size].numpy()
                images = normalised(train_images[batch], mean, std)
                images = random_crop(images, recipe.crop_padding, generator)
                if recipe.flip:
                    images = random_flip(images, generator)
                if recipe.halves(epoch * steps_per_epoch + index, steps_per_epoch):
                    images = F.avg_pool2d(images, 2)
                images = images.to(device, memory_format=torch.channels_last)
                labels = torch.from_numpy(train_labels[batch]).to(device)
                leave_out(model, recipe.train_units, generator)
                rate = recipe.rate(epoch * steps_per_epoch + index, steps_per_epoch)
                for group in optimiser.param_groups:
                    group["lr"] = rate
                with torch.autocast(
                    torch.device(device).type,
                    torch.bfloat16,
                    enabled=recipe.precision == "bfloat16",
                ):
                    logits = model(images)
                loss = F.cross_entropy(logits.float(), labels)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                loss_sum += loss.detach()
                wrong += (logits.detach().argmax(1) != labels).float().mean()
                advance(1)
            train_loss = float(loss_sum) / steps
            if not math.isfinite(train_loss):
                raise FloatingPointError(
                    f"the training loss is {train_loss} in epoch {epoch + 1}; "
                    f"try a lower learning rate than {recipe.learning_rate}"
                )
            history.append(
                {
                    "epoch": epoch + 1,
                    "rate": rate,
                    "train_loss": train_loss,
                    "train_error": float(wrong) / steps,
                    "test_error": test_error(model, test_images, test_labels, mean=mean, std=std),
                    "seconds": time.perf_counter() - started,
                }
            )
            if state_file is not None:
                _save(state_file, model, optimiser, generator, recipe, seed, history)
    model.eval()
    return history


def _save(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
    recipe: Recipe,
    seed: int,
    history: list[dict[str, float]],
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    torch.save(
        {
            "model": model.state_dict(),
            "optimiser": optimiser.state_dict(),
            "generator": generator.get_state(),
            "recipe": asdict(recipe),
            "seed": seed,
            "history": history,
        },
        partial,
    )
    os.replace(partial, path)


def _restore(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
    recipe: Recipe,
    seed: int,
) -> list[dict[str, float]]:
    state: dict[str, Any] = torch.load(path, weights_only=True)
    if state["recipe"] != asdict(recipe) or state["seed"] != seed:
        raise ValueError(
            f"{path} is a run of another recipe or seed ({state['recipe']}, seed {state['seed']}); "
            "start afresh (--fresh) or name another folder"
        )
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    generator.set_state(state["generator"])
    return list(state["history"])
