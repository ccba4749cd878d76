"""Training recipes: everything that, with the data and the seed, decides the trained weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from resanalysis.errors import ResanalysisError

Schedule = Literal["step", "one-cycle"]
Precision = Literal["float32", "bfloat16"]
Decay = Literal["all", "matrices"]
Optimiser = Literal["sgd", "adamw"]


@dataclass(frozen=True)
class Recipe:
    """Steps down the gradient on random crops and flips.

    Attributes
    ----------
    epochs : passes over the training images, also in parts.
    iterations : batches in all; where given, it decides and ``epochs`` does not.
    schedule : ``"step"`` divides the rate by ten at each milestone, after a warm-up at a tenth of it;
        ``"one-cycle"`` rises linearly over the warm-up and falls to zero along a cosine.
    milestones : fractions of the training time.
    warmup : epochs; ``warmup_iterations`` where given: batches.
    decay : what weight decay acts on: ``"all"`` parameters, as the papers have it, or ``"matrices"``,
        the weights of convolutions and linear layers (batch norm's γ, which the response of a layer
        measures, and biases are left alone).
    optimiser : ``"sgd"`` with momentum, or ``"adamw"``, which has no use for ``momentum`` and ``nesterov``.
    half_size : first part of the training time, 0 to 1, in which images are halved in height and width
        (means of 2 × 2 pixels): a quarter of the work for each.
    train_units : units that run in each batch, drawn anew for each; all if ``None``.
    """

    epochs: float = 164.0
    iterations: int | None = None
    batch_size: int = 128
    learning_rate: float = 0.1
    schedule: Schedule = "step"
    milestones: tuple[float, ...] = (0.5, 0.75)
    warmup: float = 0.0
    warmup_iterations: int | None = None
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    decay: Decay = "all"
    crop_padding: int = 4
    flip: bool = True
    precision: Precision = "float32"
    half_size: float = 0.0
    train_units: int | None = None
    optimiser: Optimiser = "sgd"

    def __post_init__(self) -> None:
        length = self.epochs if self.iterations is None else self.iterations
        if length <= 0 or self.batch_size < 1 or self.learning_rate <= 0:
            raise ResanalysisError(
                "a recipe needs epochs (or iterations) > 0, batch_size ≥ 1 and learning_rate > 0, got "
                f"{length}, {self.batch_size}, {self.learning_rate}"
            )
        if not 0 <= self.half_size <= 1:
            raise ResanalysisError(f"half_size is a part of the time, 0 to 1, got {self.half_size}")

    def steps(self, steps_per_epoch: int) -> int:
        """Batches in all."""
        if self.iterations is not None:
            return self.iterations
        return max(1, math.ceil(self.epochs * steps_per_epoch))

    def halves(self, step: int, steps_per_epoch: int) -> bool:
        """Whether the images of a batch, counted from 0, are halved in size."""
        return step < self.half_size * self.steps(steps_per_epoch)

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """Learning rate of a batch, counted from 0."""
        total = self.steps(steps_per_epoch)
        warmup = self.warmup_iterations
        if warmup is None:
            warmup = int(self.warmup * steps_per_epoch)
        if self.schedule == "one-cycle":
            if step < warmup:
                return self.learning_rate * (step + 1) / warmup
            done = (step - warmup) / max(1, total - warmup)
            return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        if step < warmup:
            return self.learning_rate / 10
        passed = sum(step >= milestone * total for milestone in self.milestones)
        return self.learning_rate * 10.0**-passed


RECIPES: dict[str, Recipe] = {
    # He et al. 2015, §4.2: 64k iterations of 128 images, divided at 32k and 48k.
    "he2015": Recipe(iterations=64_000),
    # He et al. 2015, §4.2, ResNet-110, and He et al. 2016, all: 0.01 for the first 400 iterations.
    "he2015-warmup": Recipe(iterations=64_000, warmup_iterations=400),
    # Huang et al. 2016, §4: 500 epochs, divided at 250 and 375.
    "huang2016": Recipe(epochs=500.0, nesterov=True),
    # Ours, for machines without a GPU: one cosine cycle, mixed precision.
    "short": Recipe(
        epochs=14.0,
        schedule="one-cycle",
        warmup=1.0,
        nesterov=True,
        weight_decay=5e-4,
        decay="matrices",
        crop_padding=2,
        precision="bfloat16",
    ),
    # Ours, for two cores that have other work: three epochs on small images, one on whole ones.
    "quick": Recipe(
        epochs=4.0,
        batch_size=64,
        learning_rate=0.05,
        schedule="one-cycle",
        warmup=0.5,
        nesterov=True,
        weight_decay=5e-4,
        decay="matrices",
        crop_padding=2,
        half_size=0.75,
    ),
    # Ours, for small vision transformers: AdamW, one cosine cycle.
    "transformer": Recipe(
        epochs=6.0,
        batch_size=64,
        learning_rate=2e-3,
        schedule="one-cycle",
        warmup=0.5,
        weight_decay=0.05,
        decay="matrices",
        crop_padding=2,
        optimiser="adamw",
    ),
}
