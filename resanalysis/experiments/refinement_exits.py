"""What one linear layer reads off the stream after each unit, and when the answer no longer changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resanalysis.experiments.refinement_images import Values
from resanalysis.statistics.least_squares import best_affine, product_sums

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Exits:
    """Early answers on the examples that the lenses were not fitted on.

    Attributes
    ----------
    examples : (M,) positions in the data of the half that answers are of.
    fitted : how many examples the lenses were fitted on.
    answers : (units, M) class that the lens after each unit says.
    final : (M,) class that the model says.
    """

    examples: NDArray[np.int64]
    fitted: int
    answers: NDArray[np.int64]
    final: NDArray[np.int64]

    @property
    def agreement(self) -> Floats:
        """Whether the lens says what the model says (units, M)."""
        return (self.answers == self.final).astype(np.float64)

    @property
    def depth(self) -> NDArray[np.int64]:
        """Prediction depth (M,): the first unit from which on every lens says what the model says.

        The number of units where the last lens says something else, so that only the head has the answer.

        Source: Baldock, Maennel and Neyshabur 2021, with lenses in the place of nearest neighbours.
        """
        return len(self.answers) - self._settled().sum(0)

    @property
    def settled(self) -> Floats:
        """Whether the answer no longer changes after each unit (units, M)."""
        return self._settled().astype(np.float64)

    def _settled(self) -> NDArray[np.bool_]:
        same = self.answers == self.final
        # From the last unit back: settled after a unit is what agrees there and at all that follow.
        return np.logical_and.accumulate(same[::-1])[::-1]

    def error(self, labels: NDArray[np.int64]) -> Floats:
        """Whether the lens is wrong (units, M).

        Parameters
        ----------
        labels : (N,) of all examples.
        """
        return (self.answers != labels[self.examples]).astype(np.float64)


def exits(values: Values, units: int, seed: int) -> Exits | None:
    """Fit an affine lens after every unit on one half of the examples and read the other half through it.

    The lens takes the mean of each channel over places to the model's own logits: closed form, least squares,
    no labels. ``None`` where there are no logits (N, classes), or fewer than two examples.

    Parameters
    ----------
    seed : of the halves.
    """
    n = values["error"].shape[1]
    if "logits" not in values or n < 2:
        return None
    drawn = np.random.default_rng(seed).permutation(n)
    fit, rest = np.sort(drawn[: n // 2]), np.sort(drawn[n // 2 :])
    logits = values["logits"].astype(np.float64).T
    answers: list[NDArray[np.int64]] = []
    for unit in range(units):
        features = values[f"features{unit}"].astype(np.float64).T
        # To the logits and not the labels: what is asked is how early the model's own answer can be read.
        lens = best_affine(product_sums(features[fit], logits[fit]))
        answers.append(lens(features[rest]).argmax(1))
    return Exits(rest, len(fit), np.stack(answers), logits[rest].argmax(1))
