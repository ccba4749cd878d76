"""Which metric the examples ask for, and the columns of one that is of the whole data set."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from resanalysis.datasets import Dataset
from resanalysis.errors import ResanalysisError
from resanalysis.measures.coco_precision import CocoPrecision
from resanalysis.measures.mean_iou import MeanIou
from resanalysis.measures.updating import Updating, is_updating
from resanalysis.routes.answers import Answers
from resanalysis.routes.evaluator import Scores
from resanalysis.routes.metric import Metric, metric_name
from resanalysis.routes.whole import WholeMetric
from resanalysis.statistics.bootstrap import Band, Floats
from resanalysis.statistics.intervals import changes_from_first, intervals_of
from resanalysis.statistics.whole import OVER, Redrawn, redrawn, redrawn_columns


def metric_of(
    metric: Any,
    data: Dataset,
    *,
    answers: Answers | None = None,
    recalibrate: int | None = None,
) -> Metric | WholeMetric | None:
    """What the examples are scored by beside error and loss.

    A class with ``update`` and ``compute`` is one of the whole data set. Where nothing is said, objects to be
    found are scored by COCO's mean average precision, and classes of pixels by their mean IoU.

    Parameters
    ----------
    metric : as the user gave it.
    data : the examples that are measured.

    Raises
    ------
    ResanalysisError : if ``answers`` or ``recalibrate`` is asked for where the metric does not go with it.
    """
    objects = getattr(data, "objects", None)
    chosen = metric
    if metric is None and objects is not None:
        chosen = CocoPrecision(objects)
    elif metric is None and getattr(data, "of_pixels", False):
        chosen = MeanIou()
    elif is_updating(metric):
        chosen = Updating.of(metric, _targets(data))
    if isinstance(chosen, WholeMetric):
        _check_alone(chosen, objects, answers, recalibrate)
    return chosen


def _targets(data: Dataset) -> Any:
    """What a metric of the whole data set compares outputs with: objects, or labels (N, …)."""
    objects = getattr(data, "objects", None)
    if objects is not None:
        return objects
    labels = getattr(data, "labels", None)
    if labels is not None:
        return torch.as_tensor(labels)
    if not getattr(data, "of_pixels", False):
        raise ResanalysisError("a metric with update and compute needs labels, or coco:DIR")
    if not data.one_size:
        raise ResanalysisError(
            f"a metric with update and compute is given all masks together, and those of {data.name} are of "
            "several sizes: give --image-size (image_size=)"
        )
    masks = [data.batch(place, place + 1)[1] for place in range(len(data))]
    return torch.cat([mask for mask in masks if mask is not None])


def _check_alone(
    metric: WholeMetric, objects: Any, answers: Answers | None, recalibrate: int | None
) -> None:
    if answers is not None and objects is not None:
        raise ResanalysisError(
            "a row per image has a label and a prediction, and of detections there is neither: leave "
            "--per-image (answers=) out"
        )
    if recalibrate is not None and not isinstance(metric, MeanIou):
        raise ResanalysisError(
            "--recalibrate (recalibrate=) is measured by scores of single examples, and this metric is of the "
            "whole data set: leave one of the two out"
        )


def redrawn_scores(
    scores: Scores, metric: Metric | WholeMetric | None, n: int, seed: int
) -> dict[str, Redrawn]:
    """Each quantity of every route, on all examples and on shared resamples; none of other metrics.

    Raises
    ------
    ResanalysisError : if one is not a number for the intact network, with which all are compared.
    """
    if not isinstance(metric, WholeMetric):
        return {}
    # Routes one by one: what is matched of one is let go before the next.
    statistics = (metric.statistic(records) for records in scores.records)
    found = redrawn(statistics, n, resamples=metric.resamples, seed=seed)
    for name, one in found.items():
        if not np.isfinite(one.value[0]):
            raise ResanalysisError(
                f"{name} of the intact network on all {n} examples is {one.value[0]}: there is nothing to "
                "compare routes with; check what the metric computes, and that the data have what it counts"
            )
    return found


def whole_bands(found: dict[str, Redrawn]) -> dict[str, Band]:
    """Each quantity of every route with its interval, and under ``NAME_delta`` its paired difference."""
    bands: dict[str, Band] = {}
    for name, one in found.items():
        bands |= {name: one.bands(), f"{name}_delta": one.changes()}
    return bands


def metric_bands(values: NDArray[np.float32], seed: int) -> dict[str, Band]:
    """The same of a user's score of each example (routes, N), the intact network's first."""
    change = changes_from_first(values, seed=seed)
    return {"metric": intervals_of(values, seed=seed), "metric_delta": change}


def higher_is_better(metric: Metric | WholeMetric) -> bool:
    """Whether a metric falls where a network gets worse: unless it says ``higher_is_better = False``.

    The attribute is torchmetrics'.
    """
    return getattr(metric, "higher_is_better", None) is not False


def first_quantity(scores: Scores, metric: Metric | WholeMetric) -> Floats:
    """The first quantity of a metric on all examples, for each route; no intervals."""
    if not isinstance(metric, WholeMetric):
        return scores.mean("metric")
    every = np.ones((1, len(scores.records[0])))
    found = (metric.statistic(records)(every) for records in scores.records)
    return np.array([next(iter(quantities.values()))[0] for quantities in found])


def of_draws(
    found: dict[str, Redrawn],
    rows: Sequence[int],
    groups: Sequence[Hashable],
    listed: Sequence[bool],
    seed: int,
) -> pd.DataFrame:
    """Of networks drawn at random: each quantity of each row, of the intact network, and the group's mean.

    Parameters
    ----------
    rows : for each row of the table, which of the routes it is; 0 is the intact network.
    """
    columns: dict[str, Any] = {}
    for name, one in found.items():
        columns[name] = one.value[list(rows)]
        columns[f"intact_{name}"] = one.value[0]
    return pd.DataFrame(columns, index=range(len(rows))).join(
        redrawn_columns(found, rows, groups, listed, seed=seed)
    )


def whole_facts(found: dict[str, Redrawn]) -> dict[str, Any]:
    """What a caption has to state."""
    if not found:
        return {}
    resamples = len(next(iter(found.values())).drawn)
    return {"whole_metrics": list(found), "whole_interval": f"{OVER}; {resamples:,} draws"}


def metric_facts(metric: Metric | type | None) -> dict[str, Any]:
    """What a caption has to state of a user's score."""
    return {} if metric is None else {"metric": metric_name(metric)}
