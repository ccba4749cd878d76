"""How much of what a network can do is left: 1 for the intact network, 0 for a constant answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from resanalysis.errors import ResanalysisError
from resanalysis.network import ResidualNetwork
from resanalysis.routes.evaluator import EvaluationData, intact_outputs
from resanalysis.routes.scores import aligned_targets, by_position

Floats = NDArray[np.float64]
Measure = Literal["accuracy", "agreement"]

_RESAMPLES = 2000
# Resamples at a time: what keeps their weights small for data sets of any usual size.
_AT_ONCE = 100


@dataclass(frozen=True, eq=False)
class Yardstick:
    """What a score is measured by, on the same examples as the score.

    Attributes
    ----------
    measure : ``accuracy``, or ``agreement`` with the intact network's answers.
    intact : (N,) share of each example's answers that the intact network has right.
    constant : (N,) the same of the network that always gives the most common right answer.
    answer : that answer: a class, or a token.
    """

    measure: Measure
    intact: Floats
    constant: Floats
    answer: int

    @property
    def chance(self) -> float:
        """Mean of ``constant``: the frequency of the most common right answer."""
        return float(self.constant.mean())

    def normalised(
        self, right: Floats, *, level: float = 0.95, seed: int = 0
    ) -> tuple[Floats, Floats, Floats]:
        """(right − chance) / (intact − chance) of every route, with its bootstrap interval.

        One resample of the examples serves the route, the intact network and the constant answer alike.
        Where resamples leave the intact network no better than the constant answer, in more than
        ``1 − level`` of the cases, there is no interval (NaN).

        Parameters
        ----------
        right : (routes, N) share of each example's answers that a route has right.

        Returns
        -------
        score, low, high : (routes,) each.
        """
        n = len(self.intact)
        gained = (np.vstack([right, self.intact]) - self.constant).T
        generator = np.random.default_rng(seed)
        drawn: list[Floats] = []
        for done in range(0, _RESAMPLES, _AT_ONCE):
            times = min(_AT_ONCE, _RESAMPLES - done)
            weights = generator.multinomial(n, np.full(n, 1 / n), size=times).astype(np.float64)
            drawn.append(weights @ gained)
        sums = np.concatenate(drawn)
        usable = sums[:, -1] > 0
        low = high = np.full(len(right), np.nan)
        if usable.mean() >= level:
            ratios = sums[usable, :-1] / sums[usable, -1:]
            low, high = np.quantile(ratios, [0.5 - level / 2, 0.5 + level / 2], axis=0)
        means = gained.mean(axis=0)
        return means[:-1] / means[-1], low, high


def yardstick(
    network: ResidualNetwork,
    data: EvaluationData,
    measure: Measure | None = None,
    *,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
) -> Yardstick:
    """Run the intact network and count the right answers, before anything longer is begun.

    Parameters
    ----------
    measure : accuracy where the data has labels, else agreement, if left out.

    Raises
    ------
    ResanalysisError : if accuracy is asked for and there are no labels, or if the intact network is no better
        than a constant answer: then there is nothing to measure by.
    """
    given: list[NDArray[np.int64]] = []
    right: list[NDArray[np.int64]] = []
    for logits, labels in intact_outputs(network, data, batch_size=batch_size, device=device):
        if measure is None:
            measure = "agreement" if labels is None else "accuracy"
        if measure == "accuracy" and labels is None:
            raise ResanalysisError(
                "there are no labels to measure accuracy by; measure agreement instead"
            )
        answers, targets, kept = _aligned(logits, labels)
        wanted = answers if measure == "agreement" or targets is None else targets
        for known, output in ((right, wanted), (given, answers)):
            known.extend(row[keep].cpu().numpy() for row, keep in zip(output, kept, strict=True))
    if measure is None:
        raise ResanalysisError("nothing to measure: there are no examples")
    # Each example counts alike, however many tokens it has: as the mean error does.
    weight = np.concatenate([np.full(len(row), 1 / max(len(row), 1)) for row in right])
    values, place = np.unique(np.concatenate(right), return_inverse=True)
    answer = int(values[np.bincount(place, weights=weight).argmax()])
    found = Yardstick(
        measure=measure,
        intact=np.array([np.mean(a == b) for a, b in zip(given, right, strict=True)]),
        constant=np.array([np.mean(row == answer) for row in right]),
        answer=answer,
    )
    if not found.intact.mean() > found.chance:
        advice = "give it more varied examples"
        if measure == "accuracy":
            advice = "measure the agreement with the intact network instead (--measure agreement)"
        raise ResanalysisError(
            f"the {measure} of {network.name} is {found.intact.mean():.4f}, and always answering "
            f"{answer} would reach {found.chance:.4f}: there is nothing above chance to lose; {advice}"
        )
    return found


def _aligned(
    logits: torch.Tensor, labels: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """Answers, what they should be, and which of them count: (N, positions) each."""
    values = by_position(logits)
    answers = torch.where(values.sum(-1).isfinite(), values.argmax(-1), -1)
    return answers, *aligned_targets(logits, labels)
