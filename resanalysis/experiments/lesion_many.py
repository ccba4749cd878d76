"""The error without k random units: Veit et al. 2016, Figure 5a."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch

from resanalysis.datasets import Dataset
from resanalysis.errors import ResanalysisError
from resanalysis.experiments.protocol import AGAIN, protocol_of
from resanalysis.experiments.whole import metric_of, of_draws, redrawn_scores, whole_facts
from resanalysis.measures.chance import chance_error
from resanalysis.network import ResidualNetwork
from resanalysis.provenance import Provenance
from resanalysis.routes.answers import Answers
from resanalysis.routes.evaluator import BlockStore, Scores
from resanalysis.routes.metric import Metric
from resanalysis.routes.route import intact, without
from resanalysis.routes.stand_in import Replace
from resanalysis.routes.subsets import Subset, nested_subsets
from resanalysis.statistics.crossed import OVER, crossed_columns
from resanalysis.statistics.whole import Redrawn

Eligible = Literal["both", "eligible", "excluded"]
MEASURED = ("error", "loss", "agreement")


def lesion_many(
    network: ResidualNetwork,
    data: Dataset,
    *,
    removed: Sequence[int] = tuple(range(1, 21)),
    draws: int = 100,
    metric: Metric | type | None = None,
    transitions: Eligible = "eligible",
    recalibrate: int | None = None,
    replace: Replace = "zero",
    mean_over: int | None = None,
    calibrate_on: Dataset | None = None,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    store: BlockStore | None = None,
    show_progress: bool = False,
    answers: Answers | None = None,
) -> pd.DataFrame:
    """Delete k units drawn at random and measure the network, for several k.

    No two draws of one k delete the same units. Where k units can be chosen in at most ``draws`` ways, all
    ways are taken. Else a draw deletes more and more units: its deletions are nested, so that curves over k
    compare like with like, and are redrawn only where an earlier draw has the same ones.

    Parameters
    ----------
    removed : numbers of units to delete; those above the number of eligible units are left out.
    draws : for each k; at least 30 make an interval worth drawing.
    transitions : whether units that change the stream's shape may be deleted: ``"eligible"``,
        ``"excluded"``, or ``"both"`` protocols side by side (the paper does not say).
    metric : a score of your own, as in ``lesion``; its means are ``metric`` and ``intact_metric``. Of a metric
        of all examples together there are, as of the error, ``map``, ``intact_map`` and ``mean_map``.
    answers : as in ``lesion``.
    recalibrate, replace, mean_over, calibrate_on : as in ``lesion``.

    Returns
    -------
    DataFrame : ``removed``, ``draw``, ``units`` (indices, separated by spaces), ``error``, ``loss``,
        ``agreement``, ``transitions_eligible``, and the intact network's ``intact_error`` and
        ``intact_loss`` in every row. Draws of the second protocol are numbered on from the first's. For
        each k and protocol, in every row of it: ``distinct``, how many networks there are; ``listed``,
        whether these are all there can be; and, of X the error, loss, agreement and metric, ``mean_X``
        over draws and examples with its two-way bootstrap interval ``mean_X_low``, ``mean_X_high`` and the
        standard errors ``mean_X_se_draws``, ``mean_X_se_examples`` (if the one alone varied) and
        ``mean_X_se`` (both). ``chance_error`` is that of the best constant answer. With ``recalibrate``,
        ``X_recalibrated``, ``intact_X_recalibrated`` and ``mean_X_recalibrated`` with the rest, of the same
        networks with batch-norm statistics estimated anew.

    Raises
    ------
    ResanalysisError : if no k is between 1 and the number of eligible units.

    Source: Veit et al. 2016, §4.2.
    """
    if draws < 1:
        raise ResanalysisError(f"draws must be at least 1, got {draws}")
    chosen, left_out = _chosen(network, removed, draws, transitions, seed)
    names = list(dict.fromkeys(subset.units for _, subset in chosen))
    protocol = protocol_of(
        network, data, seed, recalibrate=recalibrate, by=replace, mean_over=mean_over,
        calibrate_on=calibrate_on, batch_size=batch_size, device=device, store=store,
    )  # fmt: skip
    data = protocol.measured
    scored_by = metric_of(metric, data, answers=answers, recalibrate=recalibrate)
    scores = protocol.scored(
        [intact(network), *(without(network, units) for units in names)],
        metric=scored_by,
        batch_size=batch_size,
        device=device,
        store=store,
        show_progress=show_progress,
        description="lesion_many",
        answers=answers,
    )
    whole = redrawn_scores(scores, scored_by, len(data), seed)
    frame = _table(chosen, names, scores, whole, draws, seed).assign(
        chance_error=chance_error(data)
    )
    if answers is not None:
        number = {units: route for route, units in enumerate(names, start=1)}
        frame["route"] = [number[subset.units] for _, subset in chosen]
    frame.attrs = Provenance.of(
        network,
        data,
        seed,
        draws=draws,
        transitions=transitions,
        left_out=left_out,
        interval=OVER,
        **protocol.facts,
        **whole_facts(whole),
    ).facts()
    return frame


def _table(
    chosen: list[tuple[bool, Subset]],
    names: list[tuple[int, ...]],
    scores: Scores,
    whole: dict[str, Redrawn],
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """A row for each draw, from scores of the intact network and then of each set of ``names``."""
    row_of = {units: row for row, units in enumerate(names, start=1)}
    place = [row_of[subset.units] for _, subset in chosen]
    # Draws of the second protocol go on counting, so that a draw is one column of a pivot table.
    first = chosen[0][0]
    facts = [
        (
            len(subset.units),
            subset.draw + draws * (eligible != first),
            " ".join(map(str, subset.units)),
        )
        for eligible, subset in chosen
    ]
    frame = pd.DataFrame(facts, columns=["removed", "draw", "units"])
    for name in MEASURED:  # their columns come first
        frame[name] = scores.mean(name)[place]
    frame["transitions_eligible"] = [eligible for eligible, _ in chosen]
    again = [f"{name}{AGAIN}" for name in (*MEASURED, "metric")]
    measured = tuple(name for name in (*MEASURED, "metric", *again) if name in scores.values)
    for name in measured:
        frame[name] = scores.mean(name)[place]
        if not name.startswith("agreement"):
            frame[f"intact_{name}"] = scores.mean(name)[0]
    groups = list(zip(frame["transitions_eligible"], frame["removed"], strict=True))
    frame["distinct"] = frame.groupby(["transitions_eligible", "removed"])["units"].transform(
        "nunique"
    )
    frame["listed"] = [subset.listed for _, subset in chosen]
    values = {name: scores.values[name][place] for name in measured}
    means = crossed_columns(values, groups, frame["listed"].tolist(), seed=seed)
    of_whole = of_draws(whole, place, groups, frame["listed"].tolist(), seed)
    return pd.concat([frame, means, of_whole], axis=1)


def _chosen(
    network: ResidualNetwork,
    removed: Sequence[int],
    draws: int,
    transitions: Eligible,
    seed: int,
) -> tuple[list[tuple[bool, Subset]], list[int]]:
    """Every draw with whether its protocol may delete transitions; and the sizes that were left out."""
    protocols = {"both": (True, False), "eligible": (True,), "excluded": (False,)}[transitions]
    if not any(unit.transition for unit in network.units):
        protocols = (True,)
    chosen: list[tuple[bool, Subset]] = []
    left_out: set[int] = set()
    for eligible in protocols:
        pool = [u.index for u in network.units if u.deletable and (eligible or not u.transition)]
        sizes = [k for k in removed if 1 <= k <= len(pool)]
        left_out |= set(removed) - set(sizes)
        generator = np.random.default_rng([seed, int(eligible)])
        chosen += [(eligible, one) for one in nested_subsets(pool, sizes, draws, generator)]
    if not chosen:
        raise ResanalysisError(
            f"cannot delete {', '.join(map(str, removed))} units together: {network.name} has {len(network)}, "
            f"of which {sum(unit.deletable for unit in network.units)} can be deleted"
        )
    return chosen, sorted(left_out)
