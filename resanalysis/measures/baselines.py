"""How much of what a network can do is left: 1 for the intact network, 0 for a constant answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from resanalysis.errors import ResanalysisError
from resanalysis.network import ResidualNetwork
from resanalysis.routes.batches import Batch, Batches, Block, EvaluationData
from resanalysis.routes.evaluator import intact_logits, placed_network
from resanalysis.routes.scores import aligned_targets, by_position
from resanalysis.statistics.bootstrap import ratio_band

Floats = NDArray[np.float64]
Answers = NDArray[np.int64]
Measure = Literal["accuracy", "agreement"]


@dataclass(frozen=True, eq=False)
class Baselines:
    """The two networks that a score stands between, on the same examples as the score.

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
        found = ratio_band(
            right - self.constant, self.intact - self.constant, level=level, seed=seed
        )
        return found.mean, found.low, found.high


def baselines(
    network: ResidualNetwork,
    data: EvaluationData,
    measure: Measure | None = None,
    *,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
) -> Baselines:
    """Run the intact network and count the right answers, before anything longer is begun.

    Parameters
    ----------
    measure : accuracy where the data has labels, else agreement, if left out.

    Raises
    ------
    ResanalysisError : if accuracy is asked for and there are no labels, or if the intact network is no better
        than a constant answer: then there is nothing to measure by.
    """
    if len(data) == 0:
        raise ResanalysisError("nothing to measure: there are no examples")
    labelled = data.batch(0, 1)[1] is not None
    chosen: Measure = measure or ("accuracy" if labelled else "agreement")
    if chosen == "accuracy" and not labelled:
        raise ResanalysisError(
            "there are no labels to measure accuracy by; measure agreement instead"
        )
    given, right = _answers(placed_network(network, device), data, chosen, batch_size)
    # Each example counts alike, however many tokens it has: as the mean error does.
    weight = np.concatenate([np.full(len(row), 1 / max(len(row), 1)) for row in right])
    values, place = np.unique(np.concatenate(right), return_inverse=True)
    answer = int(values[np.bincount(place, weights=weight).argmax()])
    found = Baselines(
        measure=chosen,
        intact=np.array([np.mean(a == b) for a, b in zip(given, right, strict=True)]),
        constant=np.array([np.mean(row == answer) for row in right]),
        answer=answer,
    )
    if not found.intact.mean() > found.chance:
        raise ResanalysisError(_nothing_to_lose(network.name, found))
    return found


def _nothing_to_lose(name: str, found: Baselines) -> str:
    advice = "give it more varied examples"
    if found.measure == "accuracy":
        advice = "measure the agreement with the intact network instead (--measure agreement)"
    return (
        f"the {found.measure} of {name} is {found.intact.mean():.4f}, and always answering "
        f"{found.answer} would reach {found.chance:.4f}: there is nothing above chance to lose; {advice}"
    )


def _answers(
    network: ResidualNetwork, data: EvaluationData, measure: Measure, batch_size: int | None
) -> tuple[list[Answers], list[Answers]]:
    """Of each example, the intact network's answers and the right ones; texts have many."""

    def answers(batch: Batch) -> Block:
        logits = intact_logits(network, batch)
        values = by_position(logits)
        given = torch.where(values.sum(-1).isfinite(), values.argmax(-1), -1)
        targets, counted = aligned_targets(logits, batch.labels)
        right = given if measure == "agreement" or targets is None else targets
        found = {"given": given, "right": right, "counted": counted}
        # Examples last, as in every block.
        return {name: batch.own(value.mT).cpu().numpy() for name, value in found.items()}

    with torch.inference_mode():
        batches = Batches.of(network, data, batch_size=batch_size)
        blocks = batches.each("baselines", answers)
    return _by_example(blocks, "given"), _by_example(blocks, "right")


def _by_example(blocks: Sequence[Block], name: str) -> list[Answers]:
    """The answers that count, of each example."""
    return [
        answers[counted]
        for block in blocks
        for answers, counted in zip(block[name].T, block["counted"].T, strict=True)
    ]
