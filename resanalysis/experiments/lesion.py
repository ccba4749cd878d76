"""The error without each unit: Veit et al. 2016, Figures 3 and 4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from resanalysis.datasets import Dataset
from resanalysis.errors import ResanalysisError
from resanalysis.experiments.lesion_stop import Narrow, Stop, Top
from resanalysis.experiments.lesion_table import Numbers, add, lesion_table, rows_of
from resanalysis.experiments.lesion_until import check_until, lesion_until
from resanalysis.experiments.protocol import AGAIN, protocol_of, recalibrated
from resanalysis.experiments.whole import (
    metric_bands,
    metric_facts,
    metric_of,
    redrawn_scores,
    whole_bands,
    whole_facts,
)
from resanalysis.measures.chance import chance_error
from resanalysis.measures.perplexity import perplexity, predicted_tokens
from resanalysis.network import ResidualNetwork
from resanalysis.provenance import Provenance
from resanalysis.routes.answers import Answers
from resanalysis.routes.evaluator import BlockStore, Scores
from resanalysis.routes.metric import Metric
from resanalysis.routes.route import Route, cut_skip, intact, without
from resanalysis.routes.stand_in import Replace
from resanalysis.statistics.bootstrap import UNKNOWN, mean_band
from resanalysis.statistics.intervals import changes_from_first, intervals_of, is_rate
from resanalysis.statistics.significance import mcnemar_exact, wilcoxon_p
from resanalysis.statistics.whole import Redrawn


def lesion(
    network: ResidualNetwork,
    data: Dataset,
    *,
    part: Literal["branch", "skip"] = "branch",
    metric: Metric | type | None = None,
    recalibrate: int | None = None,
    replace: Replace = "zero",
    mean_over: int | None = None,
    calibrate_on: Dataset | None = None,
    until_width: float | None = None,
    top: int | None = None,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    store: BlockStore | None = None,
    show_progress: bool = False,
    answers: Answers | None = None,
) -> pd.DataFrame:
    """Delete the branch of one unit at a time and measure the whole network on the same examples.

    Weights stay as trained, and batch-norm statistics but for ``recalibrate``; the skip of a transition stays.

    Parameters
    ----------
    network : the unraveled view.
    data : examples with labels.
    part : ``"skip"`` cuts the skip instead and keeps the branch: the control.
    metric : a score of your own: ``metric(output, labels, intact_output)`` returns a number per example; or a
        class with ``update(outputs, targets)`` and ``compute()``, of all examples together. Where it is left
        out, objects to be found are scored by COCO's mean average precision, and classes of pixels by the mean
        intersection over union.
    recalibrate : set so many examples aside, estimate batch-norm statistics on them for each lesioned network
        (and the intact one), and measure the damage again, in further columns.
    replace : what stands in for a deleted branch: nothing (``zero``), the ``mean`` of each channel or the
        ``element-mean`` of each element of its output in the intact network, or its output there on another
        of the examples (``resample``, drawn by ``seed``).
    mean_over : of a mean: set so many examples aside and average over them; 200 if left out.
    calibrate_on : other data, such as training images, that the examples of ``recalibrate`` and of means are
        taken from, so that all of ``data`` is measured.
    until_width : stop deleting a unit once the 95 % confidence sequence of its ``delta`` is this narrow; every
        example for every unit if left out. Takes no ``metric``, ``recalibrate``, ``replace``,
        ``calibrate_on`` or ``answers``.
    top : stop deleting a unit once it is known whether it is among so many most needed or least needed units,
        with 95 % for all units together, instead.
    batch_size, device, store, show_progress : how it runs; they change no number.
    seed : of the bootstrap intervals, and of the order of the examples where units stop; nothing else here is
        random.
    answers : filled with what each route answers on each example, as ``evaluate`` does; the table then has the
        number of the ``route`` too.

    Returns
    -------
    DataFrame : the intact network (unit −1), then one row per unit, with ``error`` and its Wilson
        interval; ``delta``, the paired difference from the intact error, with an Agresti–Min interval;
        ``p_value`` of McNemar's exact test and ``p_holm`` corrected over units; mean ``loss``,
        ``agreement`` with the intact predictions, ``kl`` from the intact output, with their intervals
        (Wilson's of a share of examples, a bootstrap over examples of anything else, so that none leaves
        the range of its quantity); ``chance_error`` of the best constant answer, in every row. Of a
        language model the error is a fraction too, and there is the ``perplexity`` with its bootstrap
        interval over texts. Layers of a plain network that change the shape cannot be deleted; their
        numbers are NaN. With a ``metric``, its mean and ``metric_delta``, the paired difference from the
        intact network, with intervals of the same rule. Of objects to be found ``map``, ``map_delta``, ``ap50``
        and ``ap50_delta`` with bias-corrected bootstrap intervals over images, and no error; of classes of
        pixels also ``miou`` and ``miou_delta``. With ``recalibrate``, all but the perplexity again
        in columns that end in ``_recalibrated`` (before ``_low`` and ``_high``), against the intact network
        with statistics estimated anew, and ``stale``, how much of ``delta`` that takes away, with its
        paired interval. With ``until_width``, ``seen`` is how many examples a row saw; every number is over
        these, intervals and p-values are of confidence sequences, and loss and KL have none. With ``top`` too,
        and ``needed`` is ``most``, ``least``, ``between`` or, where the data ended before, ``open``.

    Source: Veit et al. 2016, §4.1.
    """
    routes, place = _routes(network, part)
    if part == "skip" and replace != "zero":
        raise ResanalysisError(f"{replace} stands in for a branch, and here skips are cut")
    stop = _stop(until_width, top)
    if stop is not None:
        check_until(
            stop,
            len(routes) - 1,
            {
                "metric": metric or getattr(data, "objects", None),
                "recalibrate": recalibrate,
                "replace": None if replace == "zero" else replace,
                "mean_over": mean_over,
                "calibrate_on": calibrate_on,
                "per_image": answers,
            },
        )
        return lesion_until(
            network, routes, place, data, stop, part=part, seed=seed,
            batch_size=batch_size, device=device, store=store, show_progress=show_progress,
        )  # fmt: skip
    protocol = protocol_of(
        network, data, seed, recalibrate=recalibrate, by=replace, mean_over=mean_over,
        calibrate_on=calibrate_on, batch_size=batch_size, device=device, store=store,
    )  # fmt: skip
    data = protocol.measured
    scored_by = metric_of(metric, data, answers=answers, recalibrate=recalibrate)
    scores = protocol.scored(
        routes,
        metric=scored_by,
        batch_size=batch_size,
        device=device,
        store=store,
        show_progress=show_progress,
        description="lesion",
        answers=answers,
    )
    whole = redrawn_scores(scores, scored_by, len(data), seed)
    frame = _as_trained(network, data, scores, whole, place, seed)
    if answers is not None:
        frame["route"] = [place.get(unit, -1) for unit in frame["unit"]]
    if recalibrate is not None:
        frame = frame.join(_recalibrated(network, scores, place, seed))
    frame.attrs = Provenance.of(
        network,
        data,
        seed,
        part=part,
        **protocol.facts,
        **whole_facts(whole),
        **metric_facts(metric),
    ).facts()
    return frame


def _stop(until_width: float | None, top: int | None) -> Stop | None:
    """The rule by which units stop, if there is one."""
    if until_width is not None and top is not None:
        raise ResanalysisError(
            "--until-width and --top are two rules to stop by: leave one of them out"
        )
    if top is not None:
        return Top(top)
    return None if until_width is None else Narrow(until_width)


def _routes(
    network: ResidualNetwork, part: Literal["branch", "skip"]
) -> tuple[list[Route], dict[int, int]]:
    """The intact network and each unit taken away; the number of each unit's route, the intact one's as −1."""
    build = without if part == "branch" else cut_skip
    units = [
        unit.index
        for unit in network.units
        if unit.deletable and (part == "branch" or unit.skip_kind != "none")
    ]
    if not units:
        raise ResanalysisError(f"no unit of {network.name} has a {part} that can be taken away")
    place = {-1: 0} | {unit: row for row, unit in enumerate(units, start=1)}
    return [intact(network), *(build(network, [unit]) for unit in units)], place


def _as_trained(
    network: ResidualNetwork,
    data: Dataset,
    scores: Scores,
    whole: dict[str, Redrawn],
    place: Mapping[int, int],
    seed: int,
) -> pd.DataFrame:
    """The numbers with statistics as trained, and whatever else the output has a quantity for."""
    frame = lesion_table(network, _numbers(scores, seed), place)
    frame["chance_error"] = chance_error(data)
    tokens = predicted_tokens(data)
    if tokens is not None and not np.isnan(scores.values["loss"][0]).all():
        _add_perplexity(frame, scores.values["loss"], tokens, place, seed)
    if "metric" in scores.values:
        _add_metric(frame, scores.values["metric"], place, seed)
    rows = rows_of(network, place)
    for name, band in whole_bands(whole).items():
        add(frame, name, band, rows)
    return frame


def _numbers(scores: Scores, seed: int) -> Numbers:
    """Means over all examples with intervals for their number."""
    error = scores.values["error"]
    test = mcnemar_exact if is_rate(error) else wilcoxon_p
    return Numbers(
        intervals_of(error, seed=seed),
        changes_from_first(error, seed=seed),
        np.array([test(row, error[0]) for row in error]),
        {
            name: intervals_of(scores.values[name], seed=seed)
            for name in ("loss", "agreement", "kl")
        },
    )


def _recalibrated(
    network: ResidualNetwork, scores: Scores, place: Mapping[int, int], seed: int
) -> pd.DataFrame:
    """The numbers with statistics estimated anew, and what of the damage that takes away."""
    anew = {
        name.removesuffix(AGAIN): values
        for name, values in scores.values.items()
        if name.endswith(AGAIN)
    }
    frame = lesion_table(network, _numbers(Scores(anew), seed), place)
    if "metric" in anew:
        _add_metric(frame, anew["metric"], place, seed)
    frame = frame.drop(columns=["unit", "name", "stage", "transition"])
    frame.columns = [recalibrated(name) for name in frame.columns]
    damage, left = (
        error.astype(np.float64) - error[0] for error in (scores.values["error"], anew["error"])
    )
    add(frame, "stale", mean_band(damage - left, seed=seed), rows_of(network, place))
    return frame


def _add_perplexity(
    frame: pd.DataFrame,
    losses: NDArray[np.float32],
    tokens: NDArray[np.int64],
    place: Mapping[int, int],
    seed: int,
) -> None:
    """The perplexity of each row's route; the same texts are drawn for all."""
    rows = [place.get(unit) for unit in frame["unit"]]
    found = [UNKNOWN if row is None else perplexity(losses[row], tokens, seed=seed) for row in rows]
    for name, values in zip(("", "_low", "_high"), zip(*found, strict=True), strict=True):
        frame[f"perplexity{name}"] = values


def _add_metric(
    frame: pd.DataFrame, values: NDArray[np.float32], place: Mapping[int, int], seed: int
) -> None:
    """The user's score of each row's route, and its paired difference from the intact network."""
    rows = np.array([place.get(unit, -1) for unit in frame["unit"]])
    for name, band in metric_bands(values, seed).items():
        add(frame, name, band, rows)
