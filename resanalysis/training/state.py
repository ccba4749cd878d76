"""What a training needs to go on as if it had not been interrupted: a file, written whole or not at all."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from resanalysis.errors import ResanalysisError
from resanalysis.models.saving import save_tensors
from resanalysis.training.recipe import Recipe


@dataclass
class TrainingState:
    """Everything that changes while a network is trained.

    Attributes
    ----------
    model, optimiser : their tensors, and ``generator``, the source of crops, flips, orders and draws.
    step : batches done.
    order : the examples in this epoch's order.
    loss_sum, wrong_sum : over the batches of this epoch, of the mean loss and the fraction wrong.
    seconds : spent on this epoch.
    history, gradient_norms : rows of the epochs done.
    """

    model: nn.Module
    optimiser: torch.optim.Optimizer
    generator: Generator
    order: Tensor
    loss_sum: Tensor
    wrong_sum: Tensor
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list[dict[str, float]])
    gradient_norms: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def save(self, path: Path, recipe: Recipe, seed: int) -> None:
        """Write the file, or leave the old one as it is.

        Raises
        ------
        ResultsError : if it cannot be written.
        """
        content = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            # Dropout takes its chance from torch's own generators.
            "global_generator": torch.get_rng_state(),
            "recipe": asdict(recipe),
            "seed": seed,
            **{name: getattr(self, name) for name in _VALUES},
        }
        if torch.cuda.is_available():
            content["cuda_generators"] = torch.cuda.get_rng_state_all()
        save_tensors(content, path)

    def restore(self, path: Path, recipe: Recipe, seed: int) -> None:
        """Go back to what a file holds.

        Raises
        ------
        ResanalysisError : if it is of another recipe or seed, or of another version of this program.
        """
        content: dict[str, Any] = torch.load(path, weights_only=True)
        # Weights of one recipe under another's name would be the worst outcome, and nothing later would show
        # it.
        if content["recipe"] != asdict(recipe) or content["seed"] != seed:
            raise ResanalysisError(
                f"{path} is a run of another recipe or seed ({content['recipe']}, seed "
                f"{content['seed']}); start afresh (--fresh) or name another folder"
            )
        missing = [name for name in (*_VALUES, "global_generator") if name not in content]
        if missing:
            raise ResanalysisError(
                f"{path} was written by another version: it has no {missing[0]}; start afresh (--fresh)"
            )
        self.model.load_state_dict(content["model"])
        self.optimiser.load_state_dict(content["optimiser"])
        self.generator.set_state(content["generator"])
        torch.set_rng_state(content["global_generator"])
        if "cuda_generators" in content and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(content["cuda_generators"])
        for name in _VALUES:
            value = content[name]
            setattr(self, name, value.to(self.loss_sum.device) if name in _SUMS else value)


_SUMS = ("loss_sum", "wrong_sum")
_VALUES = ("order", *_SUMS, "step", "seconds", "history", "gradient_norms")
