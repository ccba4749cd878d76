"""What is left when the middle of a network is rearranged: Sun et al. 2024, Lad et al. 2024."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch

from resanalysis.datasets import Dataset
from resanalysis.errors import ResanalysisError, check_names
from resanalysis.experiments.protocol import AGAIN, protocol_of
from resanalysis.experiments.rearrange_table import altered_rows, metric_columns, score_columns
from resanalysis.experiments.whole import metric_facts, metric_of, redrawn_scores, whole_facts
from resanalysis.measures.baselines import Baselines, Measure, baselines
from resanalysis.network import ResidualNetwork
from resanalysis.provenance import Provenance
from resanalysis.routes.answers import Answers
from resanalysis.routes.evaluator import BlockStore, has_logits
from resanalysis.routes.metric import Metric
from resanalysis.routes.orders import count_orders
from resanalysis.routes.rearranged import KINDS, Kind, Runs, middles, movable_runs, rearrangements
from resanalysis.routes.route import intact
from resanalysis.routes.whole import WholeMetric

# More middles than these, evenly spread, add run time to a figure and no shape.
MOST_SIZES = 20


def rearrange(
    network: ResidualNetwork,
    data: Dataset,
    *,
    kinds: Sequence[Kind] = KINDS,
    sizes: Sequence[int] | None = None,
    draws: int = 10,
    loops: int = 3,
    stage: int | None = None,
    measure: Measure | None = None,
    metric: Metric | type | None = None,
    recalibrate: int | None = None,
    calibrate_on: Dataset | None = None,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    store: BlockStore | None = None,
    show_progress: bool = False,
    answers: Answers | None = None,
) -> pd.DataFrame:
    """Alter the middle of a network in several ways, wider and wider, and measure what it still can do.

    The middle is symmetric about the centre of the units that may change places: all units of a
    transformer (unravel it by layer to move whole layers). In a network with stages, where only units of
    one stage may, every stage has its own middle, with as many units kept outside it. The units of the
    middle are

    - ``skip``: deleted; their skips stay,
    - ``reverse``: run last to first,
    - ``shuffle``: run in a random order,
    - ``repeat``: all replaced by the unit at the centre,
    - ``parallel``: given the same input; the mean of their outputs goes on,
    - ``looped``: the same, the mean fed back to them ``loops`` times in all;

    ``swap`` exchanges each unit with the next, one pair at a time, wherever both may move.

    Parameters
    ----------
    kinds : which of these.
    sizes : how many units the middle holds, over all stages; sizes that no middle has are left out. Every
        one there is if left out, or 20 evenly spread.
    draws : random orders at each size, none of them twice; all where a middle has no more than these.
    loops : of ``looped``.
    stage : rearrange the units of this stage alone.
    measure : what the score counts: ``accuracy`` (of the next token, for language models) where there
        are labels, else ``agreement`` with the intact network. What has no logits, such as detections, has no
        score.
    metric : a score of your own, as in ``lesion``, whose columns it adds.
    answers : as in ``lesion``.
    recalibrate, calibrate_on : as in ``lesion``: set so many examples aside, and estimate batch-norm
        statistics on them for every altered network.

    Returns
    -------
    DataFrame : the intact network, then a row for each altered one: ``kind``, ``touched`` (number of
        units that move, are deleted or run in parallel), ``draw``, ``units`` (those, separated by
        spaces), ``order`` (the unit at each position; empty where several or none run there), ``score`` =
        (measured − chance) / (intact − chance) with chance the share of the most common right answer, its
        paired bootstrap interval over examples ``score_low``, ``score_high``, ``error``, ``loss``,
        ``agreement``, ``kl``, in every row the intact network's ``intact_error`` and the ``chance``;
        last ``size``, the units of the middle, whether they moved or not. With ``recalibrate``,
        ``score_recalibrated`` with its interval, and the other numbers, with statistics estimated anew, by
        the intact network with statistics estimated anew. Of objects to be found ``map`` and ``ap50``, of
        classes of pixels ``miou``, and a ``metric``, each with its interval, as ``map_delta`` the paired
        difference from the intact network, as ``intact_map`` the intact network's, and as ``mean_map`` and the
        rest its mean over the random orders of a middle, as in ``reorder``; ``listed`` says whether these are
        all that the middle has.

    Raises
    ------
    ResanalysisError : if no units can change places, no middle has a size asked for, a kind is unknown, or the
        intact network is no better than chance.

    Source: Sun et al. 2024, "Transformer Layers as Painters"; ``swap``: Lad et al. 2024, "The Remarkable
    Robustness of LLMs: Stages of Inference?".
    """
    _check(kinds, draws, loops, measure)
    runs = movable_runs(network, stage)
    spans, left_out = _chosen(middles(runs), sizes) if set(kinds) - {"swap"} else ([], [])
    protocol = protocol_of(network, data, seed, recalibrate=recalibrate, calibrate_on=calibrate_on)
    data = protocol.measured
    scored_by = metric_of(metric, data, answers=answers, recalibrate=recalibrate)
    base = None
    if _has_score(network, data, measure, scored_by, device):
        base = baselines(network, data, measure, batch_size=batch_size, device=device)
    altered = list(rearrangements(network, kinds, spans, runs, draws=draws, loops=loops, seed=seed))
    scores = protocol.scored(
        [intact(network), *(one.route for one in altered)],
        metric=scored_by,
        batch_size=batch_size,
        device=device,
        store=store,
        show_progress=show_progress,
        description="rearrange",
        answers=answers,
    )
    frame = altered_rows(len(network), altered).join(score_columns(scores, base, seed))
    frame["chance"] = np.nan if base is None else base.chance
    frame["size"] = frame.pop("size")  # last
    all_there = {sum(map(len, span)): count_orders(span) <= draws for span in spans}
    whole = redrawn_scores(scores, scored_by, len(data), seed)
    frame = frame.join(metric_columns(frame, scores, whole, all_there, seed))
    if recalibrate is not None:
        frame = frame.join(score_columns(scores, base, seed, AGAIN))
    if answers is not None:
        frame["route"] = range(len(frame))
    frame.attrs = Provenance.of(
        network,
        data,
        seed,
        kinds=list(kinds),
        draws=draws,
        loops=loops,
        stage=stage,
        left_out=left_out,
        movable=sum(len(run) for run in runs),
        runs=[[run[0], run[-1]] for run in runs],
        **_levels(base),
        **protocol.facts,
        **whole_facts(whole),
        **metric_facts(metric),
    ).facts()
    return frame


def _has_score(
    network: ResidualNetwork,
    data: Dataset,
    measure: Measure | None,
    metric: Metric | WholeMetric | None,
    device: torch.device | str | None,
) -> bool:
    """Whether there is a score to measure: there may be none of an output that a metric alone can read."""
    return measure is not None or metric is None or has_logits(network, data, device)


def _levels(base: Baselines | None) -> dict[str, Any]:
    """What a caption has to state of the score."""
    if base is None:
        return {}
    return {
        "measure": base.measure,
        "intact_measure": float(base.intact.mean()),
        "chance": base.chance,
        "chance_answer": base.answer,
    }


def _check(kinds: Sequence[str], draws: int, loops: int, measure: str | None) -> None:
    check_names("rearrangement", kinds, KINDS)
    for name, value in (("draws", draws), ("loops", loops)):
        if value < 1:
            raise ResanalysisError(f"{name} must be at least 1, got {value}")
    if measure is not None and measure not in get_args(Measure):
        raise ResanalysisError(f"no measure {measure!r}; there are {', '.join(get_args(Measure))}")


def _chosen(there: dict[int, Runs], sizes: Sequence[int] | None) -> tuple[list[Runs], list[int]]:
    """The middles of the sizes asked for, and the sizes that no middle has."""
    possible = list(there)
    if sizes is None:
        places = np.linspace(0, len(possible) - 1, min(MOST_SIZES, len(possible))).round()
        return [there[possible[int(place)]] for place in places], []
    wanted = sorted(set(sizes))
    kept = [size for size in wanted if size in there]
    if not kept:
        raise ResanalysisError(
            f"no middle holds {' or '.join(map(str, wanted))} units; there are middles of "
            f"{', '.join(map(str, possible))}"
        )
    return [there[size] for size in kept], [size for size in wanted if size not in there]
