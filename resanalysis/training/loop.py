"""The training loop: one recipe, one seed, a state file that lets an interrupted run go on."""

from __future__ import annotations

import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resanalysis.models.survival import keep_all, leave_out
from resanalysis.progress import progress_bar
from resanalysis.ranks import of_the_first, ranks, with_others
from resanalysis.training.augment import random_crop, random_flip
from resanalysis.training.division import Division, divided
from resanalysis.training.examples import Examples, halved, test_error
from resanalysis.training.gradient_norms import gradient_norms
from resanalysis.training.recipe import Recipe
from resanalysis.training.state import TrainingState

# A state file is written after every epoch, and after so many seconds without one.
SAVE_EVERY = 300.0


def train(
    model: nn.Module,
    training: Examples,
    test: Examples,
    *,
    recipe: Recipe,
    seed: int = 0,
    device: str = "cpu",
    state_file: Path | None = None,
    with_gradient_norms: bool = False,
    show_progress: bool = True,
) -> TrainingState:
    """Train ``model`` in place; several processes divide each batch among them.

    On a CPU, a run that went on from its state file ends with the bits of one that was never
    interrupted: all chance comes from generators whose state the file holds.

    Parameters
    ----------
    model : an initialised classifier of (N, C, H, W) images.
    recipe, seed : with the data, they decide the result.
    state_file : written after each epoch and every few minutes, and read at the start; the first process
        writes, all read.
    with_gradient_norms : measure them before the first epoch and after each; the first process does.

    Returns
    -------
    TrainingState : its ``history`` has a row for each epoch with ``epoch``, ``rate``, ``train_loss``,
        ``train_error``, ``test_error``, ``seconds``.

    Raises
    ------
    ResanalysisError : if ``state_file`` is of another recipe or seed, or a batch is smaller than the number
        of processes.
    FloatingPointError : if the loss stops being finite.
    """
    model.to(device, memory_format=memory_format_of(model, device))  # pyright: ignore[reportCallIssue]
    state = _at_the_start(model, recipe, seed, device)
    division = divided(model, recipe, len(training), device)
    # All begin with the same file, before the first of them writes another.
    goes_on = _restored(state, state_file, recipe, seed)
    if with_gradient_norms and not goes_on:
        _measure_gradients(state, training, recipe)
    per_epoch = len(training) // recipe.batch_size or 1
    total = recipe.steps(per_epoch)
    model.train()
    saved = time.perf_counter()
    with progress_bar(
        "training", total, show=show_progress, done=state.step, note=lambda: _note(state, per_epoch)
    ) as advance:
        while state.step < total:
            division.own_chance(seed, state.step)
            _step(state, division, training, recipe, per_epoch)
            advance(1)
            whole = state.step % per_epoch == 0 or state.step == total
            if whole:
                division.share_statistics()
                _finish_epoch(state, test, recipe, per_epoch)
                if with_gradient_norms:
                    _measure_gradients(state, training, recipe)
            if whole or time.perf_counter() - saved >= SAVE_EVERY:
                _save(state, state_file, recipe, seed)
                saved = time.perf_counter()
    keep_all(model)
    model.eval()
    return state


def _at_the_start(model: nn.Module, recipe: Recipe, seed: int, device: str) -> TrainingState:
    return TrainingState(
        model,
        optimiser_of(model, recipe),
        torch.Generator().manual_seed(seed),
        order=torch.zeros(0, dtype=torch.int64),
        loss_sum=torch.zeros((), device=device),
        wrong_sum=torch.zeros((), device=device),
    )


def _restored(state: TrainingState, file: Path | None, recipe: Recipe, seed: int) -> bool:
    """Go back to what the first process has a file of; whether there was one."""
    if file is None or not of_the_first(file.exists()):
        return False
    state.restore(file, recipe, seed)
    return True


def _save(state: TrainingState, file: Path | None, recipe: Recipe, seed: int) -> None:
    if file is not None and ranks().first:
        state.save(file, recipe, seed)


def memory_format_of(model: nn.Module, device: str) -> torch.memory_format:
    """Channels last, which is faster, wherever it is safe.

    On a CPU, oneDNN's gradient of a strided 1×1 convolution of few channels, channels last, writes past
    the end of its memory: wrong gradients or a crash (uxlfoundation/oneDNN issue 6035).
    """
    strided = any(
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and module.stride != (1, 1)
        and module.in_channels < 16
        for module in model.modules()
    )
    unsafe = strided and device.startswith("cpu")
    return torch.contiguous_format if unsafe else torch.channels_last


def optimiser_of(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's, whose weight decay acts on what the recipe says."""
    decayed = [p for p in model.parameters() if recipe.decay == "all" or p.ndim > 1]
    spared = [p for p in model.parameters() if recipe.decay != "all" and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}]
    if spared:
        groups.append({"params": spared, "weight_decay": 0.0})
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate)
    return torch.optim.SGD(
        groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.nesterov
    )


def _step(
    state: TrainingState, division: Division, training: Examples, recipe: Recipe, per_epoch: int
) -> None:
    """One batch: a step of the optimiser."""
    started = time.perf_counter()
    position = state.step % per_epoch
    if position == 0:
        state.order = torch.randperm(len(training), generator=state.generator)
    device = state.loss_sum.device
    chosen = state.order[position * recipe.batch_size : (position + 1) * recipe.batch_size]
    images, labels = training.batch(chosen[division.share].numpy())
    images = _augmented(images, recipe, state, batch=len(chosen), share=division.share)
    if recipe.halves(state.step, per_epoch):
        images = halved(images)
    images = images.to(device, memory_format=memory_format_of(state.model, device.type))
    labels = labels.to(device)
    leave_out(state.model, recipe.train_units, state.generator)
    for group in state.optimiser.param_groups:
        group["lr"] = recipe.rate(state.step, per_epoch)
    mixed = recipe.precision == "bfloat16"
    weight = division.weight(len(labels), len(chosen))
    with with_others():
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            logits = division.network(images)
        loss = F.cross_entropy(logits.float(), labels) * weight
        state.optimiser.zero_grad()
        loss.backward()
    state.optimiser.step()
    wrong = (logits.detach().argmax(1) != labels).float().mean() * weight
    loss, wrong = division.mean(torch.stack((loss.detach(), wrong)))
    state.loss_sum += loss
    state.wrong_sum += wrong
    state.step += 1
    state.seconds += time.perf_counter() - started


def _augmented(
    images: Tensor, recipe: Recipe, state: TrainingState, *, batch: int, share: slice
) -> Tensor:
    images = random_crop(images, recipe.crop_padding, state.generator, batch=batch, share=share)
    return random_flip(images, state.generator, batch=batch, share=share) if recipe.flip else images


def _finish_epoch(state: TrainingState, test: Examples, recipe: Recipe, per_epoch: int) -> None:
    """Add the epoch's row to the history, and begin the next one's sums."""
    started = time.perf_counter()
    last = state.step - 1
    steps = last % per_epoch + 1
    train_loss = float(state.loss_sum) / steps
    epoch = len(state.history) + 1
    if not math.isfinite(train_loss):
        raise FloatingPointError(
            f"the training loss is {train_loss} in epoch {epoch}; "
            f"try a lower learning rate than {recipe.learning_rate}"
        )
    half = recipe.halves(last, per_epoch)
    state.history.append(
        {
            "epoch": epoch,
            "rate": recipe.rate(last, per_epoch),
            "train_loss": train_loss,
            "train_error": float(state.wrong_sum) / steps,
            "test_error": test_error(state.model, test, half=half),
            "seconds": state.seconds + time.perf_counter() - started,
            "step": state.step,
        }
    )
    state.loss_sum = torch.zeros_like(state.loss_sum)
    state.wrong_sum = torch.zeros_like(state.wrong_sum)
    state.seconds = 0.0


def _measure_gradients(state: TrainingState, training: Examples, recipe: Recipe) -> None:
    if not ranks().first:
        return
    keep_all(state.model)  # The last batch may have left branches out.
    rows = gradient_norms(state.model, training, batch_size=recipe.batch_size)
    state.gradient_norms += [{"epoch": len(state.history), **row} for row in rows]


def _note(state: TrainingState, per_epoch: int) -> str:
    """Where a training is, for its progress bar."""
    words = f"epoch {-(-state.step // per_epoch) or 1}"
    done = state.step % per_epoch
    if done:
        words += f", training error {float(state.wrong_sum) / done:.1%}"
    if state.history:
        words += f", test error {state.history[-1]['test_error']:.1%}"
    return words
