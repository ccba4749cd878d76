"""Everything ``resanalysis stream`` writes: the units, the spans, and which measure predicts damage."""

from __future__ import annotations

from typing import Any

import pandas as pd

from resanalysis.datasets import Dataset
from resanalysis.datasets.halves import two_parts
from resanalysis.experiments.lesion import lesion as lesion_alone
from resanalysis.experiments.stream import stream
from resanalysis.experiments.stream_damage import stream_damage
from resanalysis.experiments.stream_images import stream_images
from resanalysis.experiments.stream_spans import stream_spans
from resanalysis.network import ResidualNetwork

# With fewer examples than this, halves are too small for a damage or a measure to be told from noise.
FEWEST_TO_HALVE = 100


def halves(data: Dataset, seed: int = 0) -> tuple[Dataset, Dataset | None]:
    """Examples for the damage, and others for the measures that are to tell it; few examples serve both."""
    if len(data) < FEWEST_TO_HALVE:
        return data, None
    return two_parts(data, len(data) // 2, seed)


def stream_page(
    network: ResidualNetwork,
    data: Dataset,
    *,
    damage: bool = True,
    lesion: pd.DataFrame | None = None,
    others: Dataset | None = None,
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
    others : examples that ``lesion`` has not seen: the measures are correlated with the damage as they are
        on these. Left out where no ``lesion`` is given, each is measured on a half of its own.
    per_image : also ``stream_images``, a row per example and unit.
    running : ``batch_size``, ``device``, ``store`` and ``show_progress``.

    Returns
    -------
    dict : spans are left out where no unit keeps the stream's shape. The first table's ``attrs`` hold the
        correlations over all units as ``predicts``, so that they are recorded with it.
    """
    beside: dict[str, pd.DataFrame] = {}
    if damage and lesion is None:
        seen, others = halves(data, seed)
        lesion = beside["stream_lesion"] = lesion_alone(network, seen, seed=seed, **running)
    tables = {"stream": stream(network, data, seed=seed, **running), **beside}
    if per_image:
        tables["stream_images"] = stream_images(network, data, **running)
    if network.runs():
        tables["stream_spans"] = stream_spans(network, data, seed=seed, **running)
    if damage and lesion is not None:
        apart = tables["stream"]
        if others is not None:
            # Not from the store: blocks there are named by place in ``data``, and would be taken for these.
            unstored: dict[str, Any] = {**running, "store": None}
            apart = stream(network, others, seed=seed, **unstored)
        ranks = tables["stream_damage"] = stream_damage(apart, lesion, seed=seed)
        over_all = ranks.loc[ranks["transitions"].astype(bool)]
        tables["stream"].attrs["predicts"] = over_all.drop(columns="transitions").to_dict("records")
    return tables
