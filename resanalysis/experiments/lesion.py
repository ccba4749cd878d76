"""The error without each unit: Veit et al. 2016, Figures 3 and 4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from resanalysis.datasets import Dataset
from resanalysis.errors import ResanalysisError
from resanalysis.measures.perplexity import perplexity, predicted_tokens
from resanalysis.network import ResidualNetwork
from resanalysis.routes.evaluator import BlockStore, Scores, evaluate
from resanalysis.routes.route import cut_skip, intact, without
from resanalysis.routes.scores import Metric, metric_name
from resanalysis.statistics.intervals import (
    Interval,
    holm,
    mcnemar_exact,
    mean_interval,
    paired_difference,
    paired_rate_difference,
    wilcoxon_p,
    wilson,
)


def lesion(
    network: ResidualNetwork,
    data: Dataset,
    *,
    part: Literal["branch", "skip"] = "branch",
    metric: Metric | None = None,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    store: BlockStore | None = None,
    show_progress: bool = False,
) -> pd.DataFrame:
    """Delete the branch of one unit at a time and measure the whole network on the same examples.

    Weights and batch-norm statistics stay as trained; the skip of a transition stays.

    Parameters
    ----------
    network : the unraveled view.
    data : examples with labels.
    part : ``"skip"`` cuts the skip instead and keeps the branch: the control.
    metric : a score of your own: ``metric(output, labels, intact_output)`` returns a number per example.
    batch_size, device, store, show_progress : how it runs; they change no number.
    seed : of the bootstrap interval of the perplexity; nothing else here is random.

    Returns
    -------
    DataFrame : the intact network (unit −1), then one row per unit, with ``error`` and its Wilson
        interval; ``delta``, the paired difference from the intact error, with an Agresti–Min interval;
        ``p_value`` of McNemar's exact test and ``p_holm`` corrected over units; mean ``loss``,
        ``agreement`` with the intact predictions, ``kl`` from the intact output, and the t interval of the
        loss. Of a language model also the ``perplexity`` with its bootstrap interval over texts. Layers of
        a plain network that change the shape cannot be deleted; their numbers are NaN. With a ``metric``, its
        mean and ``metric_delta``, the paired difference from the intact network, with t intervals.

    Source: Veit et al. 2016, §4.1.
    """
    build = without if part == "branch" else cut_skip
    units = [
        unit.index
        for unit in network.units
        if unit.deletable and (part == "branch" or unit.skip_kind != "none")
    ]
    if not units:
        raise ResanalysisError(f"no unit of {network.name} has a {part} that can be taken away")
    scores = evaluate(
        network,
        [intact(network), *(build(network, [unit]) for unit in units)],
        data,
        metric=metric,
        batch_size=batch_size,
        device=device,
        store=store,
        show_progress=show_progress,
        description="lesion",
    )
    place = {unit: row for row, unit in enumerate(units, start=1)}
    rated = bool(np.isin(scores.values["error"], (0.0, 1.0)).all())
    rows = [
        _row(scores, 0, rated, {"unit": -1, "name": "intact", "stage": -1, "transition": False})
    ]
    for unit in network.units:
        facts = {
            "unit": unit.index,
            "name": unit.name,
            "stage": unit.stage,
            "transition": unit.transition,
        }
        rows.append(_row(scores, place.get(unit.index), rated, facts))
    frame = pd.DataFrame(rows)
    frame.insert(frame.columns.get_loc("p_value") + 1, "p_holm", np.nan)  # type: ignore[operator]
    frame.loc[1:, "p_holm"] = holm(frame["p_value"].to_numpy()[1:])
    frame.loc[0, "p_holm"] = 1.0
    tokens = predicted_tokens(data)
    if tokens is not None and not np.isnan(scores.values["loss"][0]).all():
        _add_perplexity(frame, scores.values["loss"], tokens, place, seed)
    if metric is not None:
        _add_metric(frame, scores.values["metric"], place)
    frame.attrs = {
        "model": network.name,
        "data": data.name,
        "n": len(data),
        "seed": seed,
        "part": part,
        "batch_norm": "running statistics",
        "subset": data.subset,
    }
    if metric is not None:
        frame.attrs["metric"] = metric_name(metric)
    return frame


def _add_perplexity(
    frame: pd.DataFrame,
    losses: NDArray[np.float32],
    tokens: NDArray[np.int64],
    place: Mapping[int, int],
    seed: int,
) -> None:
    """The perplexity of each row's route; the same texts are drawn for all."""
    rows = [0 if unit == -1 else place.get(unit) for unit in frame["unit"]]
    found = [
        Interval(np.nan, np.nan, np.nan)
        if row is None
        else perplexity(losses[row], tokens, seed=seed)
        for row in rows
    ]
    for name, values in zip(("", "_low", "_high"), zip(*found, strict=True), strict=True):
        frame[f"perplexity{name}"] = values


def _add_metric(frame: pd.DataFrame, values: NDArray[np.float32], place: Mapping[int, int]) -> None:
    """The user's score of each row's route, and its paired difference from the intact network."""
    unknown = Interval(np.nan, np.nan, np.nan)
    means: list[Interval] = []
    changes: list[Interval] = []
    for unit in frame["unit"]:
        row = 0 if unit == -1 else place.get(unit)
        few = row is None or values.shape[1] < 2
        mean = unknown if row is None else Interval(float(values[row].mean()), np.nan, np.nan)
        means.append(mean if few else mean_interval(values[row]))
        changes.append(unknown if few else paired_difference(values[row], values[0]))
    for name, intervals in (("metric", means), ("metric_delta", changes)):
        frame[name] = [interval.mean for interval in intervals]
        frame[f"{name}_low"] = [interval.low for interval in intervals]
        frame[f"{name}_high"] = [interval.high for interval in intervals]


def _row(scores: Scores, row: int | None, rated: bool, facts: dict[str, Any]) -> dict[str, Any]:
    """One row; ``rated``: every error of the table is 0 or 1, and not a fraction of tokens or pixels."""
    if row is None:
        return facts | {"p_value": np.nan}
    error, base = scores.values["error"][row], scores.values["error"][0]
    n = len(error)
    rate = float(error.mean(dtype=np.float64))
    if rated:
        low, high = (float(end) for end in wilson(float(error.sum()), n))
        change = paired_rate_difference(error, base) if row else Interval(0.0, 0.0, 0.0)
        p_value = mcnemar_exact(error, base)
    else:  # a fraction, or no labels at all: means of per-example values
        spread = mean_interval(error) if n > 1 else Interval(rate, np.nan, np.nan)
        low, high = (float(np.clip(end, 0, 1)) for end in spread[1:])  # a fraction, as the error is
        change = paired_difference(error, base) if n > 1 else Interval(np.nan, np.nan, np.nan)
        p_value = wilcoxon_p(error, base)
    losses = scores.values["loss"][row]
    loss = mean_interval(losses) if n > 1 else Interval(float(losses[0]), np.nan, np.nan)
    return facts | {
        "error": rate,
        "error_low": low,
        "error_high": high,
        "delta": change.mean,
        "delta_low": change.low,
        "delta_high": change.high,
        "p_value": p_value,
        "loss": loss.mean,
        "agreement": float(scores.values["agreement"][row].mean(dtype=np.float64)),
        "kl": float(scores.values["kl"][row].mean(dtype=np.float64)),
        "loss_low": loss.low,
        "loss_high": loss.high,
    }
