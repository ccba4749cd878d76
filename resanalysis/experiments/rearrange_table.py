"""The rows of ``rearrange.csv``: what was done to each network, its score, and a metric's quantities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resanalysis.experiments.lesion_table import add
from resanalysis.experiments.protocol import recalibrated
from resanalysis.experiments.whole import metric_bands, of_draws, whole_bands
from resanalysis.measures.baselines import Baselines
from resanalysis.routes.evaluator import Scores
from resanalysis.routes.rearranged import Rearrangement
from resanalysis.statistics.crossed import crossed_columns
from resanalysis.statistics.whole import Redrawn


def altered_rows(units: int, altered: Sequence[Rearrangement]) -> pd.DataFrame:
    """What was done to each network, the intact one first."""
    rows: list[dict[str, Any]] = [
        {
            "kind": "intact",
            "touched": 0,
            "draw": 0,
            "units": "",
            "order": _text(range(units)),
            "size": 0,
        }
    ]
    rows += [
        {
            "kind": one.kind,
            "touched": len(one.units),
            "draw": one.draw,
            "units": _text(one.units),
            "order": _text(one.order or ()),
            "size": one.size,
        }
        for one in altered
    ]
    return pd.DataFrame(rows)


def score_columns(
    scores: Scores, base: Baselines | None, seed: int, again: str = ""
) -> pd.DataFrame:
    """The score of every route and the rest, of the names that end in ``again``."""
    frame = _scores_of(scores, base, seed, again)
    for name in ("error", "loss", "agreement", "kl"):
        frame[name] = scores.mean(f"{name}{again}")
    frame["intact_error"] = frame["error"].iloc[0]
    if again and "metric" in scores.values:
        _add_metric(frame, scores.values[f"metric{again}"], seed)
    return frame.rename(columns=recalibrated) if again else frame


def _scores_of(scores: Scores, base: Baselines | None, seed: int, again: str) -> pd.DataFrame:
    """The normalised score with its interval; empty where there are no levels to normalise by."""
    names = ("score", "score_low", "score_high")
    if base is None:
        return pd.DataFrame(np.nan, index=range(len(scores.values["error"])), columns=list(names))
    of_examples = scores.values[f"{'agreement' if base.measure == 'agreement' else 'error'}{again}"]
    right = of_examples.astype(np.float64)
    if base.measure == "accuracy":
        right = 1 - right
    found = replace(base, intact=right[0]).normalised(right, seed=seed)
    return pd.DataFrame(dict(zip(names, found, strict=True)))


def _add_metric(frame: pd.DataFrame, values: NDArray[np.float32], seed: int) -> None:
    for name, band in metric_bands(values, seed).items():
        add(frame, name, band, np.arange(len(values)))


def metric_columns(
    frame: pd.DataFrame,
    scores: Scores,
    whole: dict[str, Redrawn],
    all_there: Mapping[int, bool],
    seed: int,
) -> pd.DataFrame:
    """Every row's quantities with their intervals, and their means over the random orders of its middle.

    Parameters
    ----------
    all_there : by the size of a middle, whether all orders that it has were run.
    """
    found = pd.DataFrame(index=frame.index)
    if not whole and "metric" not in scores.values:
        return found
    shuffled = frame["kind"] == "shuffle"
    # What is not random is the only one of its kind, and its mean is itself.
    places = zip(shuffled, frame["size"], frame.index, strict=True)
    groups = [("shuffle", size) if drawn else row for drawn, size, row in places]
    found["listed"] = [all_there[size] if drawn else True
                       for drawn, size in zip(shuffled, frame["size"], strict=True)]  # fmt: skip
    listed = found["listed"].tolist()
    if "metric" in scores.values:
        _add_metric(found, scores.values["metric"], seed)
        found["intact_metric"] = found["metric"].iloc[0]
        own = {"metric": scores.values["metric"]}
        found = found.join(crossed_columns(own, groups, listed, seed=seed))
    for name, band in whole_bands(whole).items():
        add(found, name, band, np.arange(len(frame)))
    means = of_draws(whole, range(len(frame)), groups, listed, seed)
    return found.join(means.drop(columns=list(whole)))


def _text(units: Sequence[int]) -> str:
    return " ".join(str(unit) for unit in units)
