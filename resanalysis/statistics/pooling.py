"""Curves of several models over one axis, and what several training seeds of one network say together."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from resanalysis.errors import ResanalysisError

MOST_PLACES = 60


def curves(frame: pd.DataFrame, x: str, y: str, *, level: float = 0.95) -> pd.DataFrame:
    """One row per model and place along the axis: the mean of ``y`` there, and what it is uncertain over.

    Parameters
    ----------
    frame : with ``model``, ``x`` and ``y``; where a place has one row, its ``y_low`` and ``y_high`` are the
        interval, where it has several (draws), the interval holds the middle ``level`` of them. A continuous
        axis (more than 60 places) is cut into 20 bins, the same for all models. A place without any ``y`` (a
        layer that cannot be deleted) stays, without a value.

    Returns
    -------
    DataFrame : ``model``, ``x``, ``rows``, ``y``, ``y_low``, ``y_high`` under the names given.
    """
    known = frame.loc[frame[x].notna()]
    place = known[x].to_numpy(dtype=np.float64)
    if len(np.unique(place)) > MOST_PLACES:
        edges = np.linspace(place.min(), place.max(), 21)
        # The largest place lies on the last edge, and belongs to the last bin.
        inside = np.clip(np.digitize(place, edges) - 1, 0, 19)
        place = (edges[:-1] + edges[1:])[inside] / 2
    rows: list[dict[str, object]] = []
    low, high = f"{y}_low", f"{y}_high"
    tail = 0.5 - level / 2
    for (model, at), part in known.assign(**{x: place}).groupby(["model", x], sort=False):
        values = part[y].dropna().to_numpy(dtype=np.float64)
        if len(values) > 1:
            ends = np.quantile(values, [tail, 1 - tail])
        else:
            ends = part[[low, high]].to_numpy(float)[0] if low in part else np.full(2, np.nan)
        rows.append(
            {
                "model": model,
                x: at,
                "rows": len(part),
                y: values.mean() if len(values) else np.nan,
                low: ends[0],
                high: ends[1],
            }
        )
    lines = pd.DataFrame(rows).sort_values(x, kind="stable")
    given = {model: number for number, model in enumerate(frame["model"].unique())}
    return lines.sort_values("model", key=lambda m: m.map(given), kind="stable", ignore_index=True)


def pooled(frame: pd.DataFrame, x: str, y: str, *, level: float = 0.95) -> pd.DataFrame:
    """Mean over training seeds at each place of the axis, with the t interval between seeds.

    The seeds are the replicates: examples and draws say how well each trained network is known, and nothing of
    how much networks differ.

    Parameters
    ----------
    frame : of ``curves``, a model for each seed.

    Returns
    -------
    DataFrame : ``x``, ``seeds``, ``y``, ``y_low``, ``y_high``; a place that one seed alone has carries none.

    Raises
    ------
    ResanalysisError : if there are fewer than two models.
    """
    if len(set(frame["model"])) < 2:
        raise ResanalysisError(
            "pooling needs at least two models: the training seeds of one network"
        )
    rows: list[dict[str, float]] = []
    for at in np.unique(frame[x].to_numpy(dtype=np.float64)):
        part = frame.loc[frame[x] == at]
        values = part[y].to_numpy(dtype=np.float64)
        seeds = len(values)
        half = np.nan
        if seeds > 1:
            half = float(stats.t.ppf(0.5 + level / 2, seeds - 1) * stats.sem(values))
        mean = float(values.mean())
        rows.append(
            {
                x: float(at),
                "seeds": seeds,
                y: mean,
                f"{y}_low": mean - half,
                f"{y}_high": mean + half,
            }  # pyright: ignore[reportArgumentType]
        )
    return pd.DataFrame(rows)
