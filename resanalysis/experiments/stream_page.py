"""Everything ``resanalysis stream`` writes: the units, the spans, and which measure predicts damage."""

from __future__ import annotations

from typing import Any

import pandas as pd

from resanalysis.datasets import Dataset
from resanalysis.experiments.lesion import lesion as lesion_alone
from resanalysis.experiments.stream import stream
from resanalysis.experiments.stream_damage import stream_damage
from resanalysis.experiments.stream_images import stream_images
from resanalysis.experiments.stream_spans import stream_spans
from resanalysis.network import ResidualNetwork


def stream_page(
    network: ResidualNetwork,
    data: Dataset,
    *,
    damage: bool = True,
    lesion: pd.DataFrame | None = None,
    per_image: bool = False,
    seed: int = 0,
    **running: Any,
) -> dict[str, pd.DataFrame]:
    """The tables of ``stream``, ``stream_images``, ``stream_spans`` and ``stream_damage`` by name.

    Parameters
    ----------
    damage : also delete each unit, and compare the measures with what that costs.
    lesion : the table of ``lesion`` on the same network where it is known; else it is measured here and
        returned as ``stream_lesion``.
    per_image : also ``stream_images``, a row per example and unit.
    running : ``batch_size``, ``device``, ``store`` and ``show_progress``.

    Returns
    -------
    dict : spans are left out where no unit keeps the stream's shape. The first table's ``attrs`` hold the
        correlations over all units as ``predicts``, so that they are recorded with it.
    """
    beside: dict[str, pd.DataFrame] = {}
    if damage and lesion is None:
        lesion = beside["stream_lesion"] = lesion_alone(network, data, seed=seed, **running)
    tables = {"stream": stream(network, data, seed=seed, **running), **beside}
    if per_image:
        tables["stream_images"] = stream_images(network, data, **running)
    if network.runs():
        tables["stream_spans"] = stream_spans(network, data, seed=seed, **running)
    if damage and lesion is not None:
        ranks = tables["stream_damage"] = stream_damage(tables["stream"], lesion, seed=seed)
        over_all = ranks.loc[ranks["transitions"].astype(bool)]
        tables["stream"].attrs["predicts"] = over_all.drop(columns="transitions").to_dict("records")
    return tables
