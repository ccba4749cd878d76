"""Everything ``resanalysis stream`` writes: the units, the spans, and which measure predicts damage."""

from __future__ import annotations

from typing import Any

import pandas as pd

from resanalysis.datasets import Dataset
from resanalysis.experiments.stream import stream
from resanalysis.experiments.stream_damage import stream_damage
from resanalysis.experiments.stream_images import stream_images
from resanalysis.experiments.stream_spans import stream_spans
from resanalysis.network import ResidualNetwork


def stream_page(
    network: ResidualNetwork,
    data: Dataset,
    *,
    lesion: pd.DataFrame | None = None,
    per_image: bool = False,
    seed: int = 0,
    **running: Any,
) -> dict[str, pd.DataFrame]:
    """The tables of ``stream``, ``stream_images``, ``stream_spans`` and ``stream_damage`` by name.

    Parameters
    ----------
    lesion : the table of ``lesion`` on the same network; without it there is no ``stream_damage``.
    per_image : also ``stream_images``, a row per example and unit.
    running : ``batch_size``, ``device``, ``store`` and ``show_progress``.

    Returns
    -------
    dict : spans are left out where no unit keeps the stream's shape. The first table's ``attrs`` hold the
        correlations over all units as ``predicts``, so that they are recorded with it.
    """
    tables = {"stream": stream(network, data, seed=seed, **running)}
    if per_image:
        tables["stream_images"] = stream_images(network, data, **running)
    if network.runs():
        tables["stream_spans"] = stream_spans(network, data, seed=seed, **running)
    if lesion is not None:
        damage = tables["stream_damage"] = stream_damage(tables["stream"], lesion, seed=seed)
        over_all = damage.loc[damage["transitions"].astype(bool)]
        tables["stream"].attrs["predicts"] = over_all.drop(columns="transitions").to_dict("records")
    return tables
