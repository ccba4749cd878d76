"""Stochastic depth: which branches run in training, and what they are multiplied by at test."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from resanalysis.errors import ResanalysisError


class Survival(nn.Module):
    """The end of a unit's branch: present or absent in training, scaled by its probability at test.

    What draws the units to keep is the training loop, from the recipe's own generator: a network with
    random state of its own could not be resumed bit for bit.

    Source: Huang et al. 2016, §3 (equations 2 and 5).
    """

    def __init__(self, probability: float = 1.0) -> None:
        super().__init__()
        self.probability = probability
        self.kept = True

    @property
    def absent(self) -> bool:
        """Whether the branch must not run now: its batch norm would count examples it never saw."""
        return self.training and not self.kept

    def forward(self, branch: Tensor) -> Tensor:
        if self.training or self.probability == 1:
            return branch
        # In expectation what training had, when the branch was there as often (equation 5).
        return branch * self.probability


def survivals(model: nn.Module) -> list[Survival]:
    """The end of every branch that can be left out, in the order of the units."""
    return [module for module in model.modules() if isinstance(module, Survival)]


def set_survival(model: nn.Module, probabilities: Sequence[float]) -> None:
    """Give each unit the probability that its branch is present.

    Raises
    ------
    ResanalysisError : if there are not as many units, or a number is no probability above 0.
    """
    ends = survivals(model)
    if len(ends) != len(probabilities):
        raise ResanalysisError(
            f"{len(probabilities)} survival probabilities for {len(ends)} units that can be left out"
        )
    for end, probability in zip(ends, probabilities, strict=True):
        if not 0 < probability <= 1:
            raise ResanalysisError(
                f"a survival probability is above 0 and at most 1, got {probability}"
            )
        end.probability = float(probability)


def recorded_survival(model: nn.Module) -> list[float] | None:
    """The probabilities a network was trained with, or ``None`` where every branch always ran."""
    probabilities = [end.probability for end in survivals(model)]
    return probabilities if any(value < 1 for value in probabilities) else None


def leave_out(model: nn.Module, units: int | None, generator: Generator) -> list[bool]:
    """Draw the branches that run in the next training step, and say so to the model.

    Parameters
    ----------
    units : exactly so many run (training on effective paths); if ``None``, each runs with its own
        probability (stochastic depth).
    generator : the only source of chance; it is not touched where every branch runs anyway.

    Returns
    -------
    list of bool : whether each unit's branch runs.
    """
    ends = survivals(model)
    kept = [True] * len(ends)
    if units is not None:
        chosen = set(torch.randperm(len(ends), generator=generator)[:units].tolist())
        kept = [index in chosen for index in range(len(ends))]
    elif any(end.probability < 1 for end in ends):
        drawn = torch.rand(len(ends), generator=generator).tolist()
        kept = [value < end.probability for value, end in zip(drawn, ends, strict=True)]
    for end, present in zip(ends, kept, strict=True):
        end.kept = present
    return kept


def keep_all(model: nn.Module) -> None:
    """Every branch runs again, also in training mode."""
    for end in survivals(model):
        end.kept = True
