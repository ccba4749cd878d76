"""How far the stream turns over spans of units: Gromov et al. 2024."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from resanalysis.errors import ResanalysisError
from resanalysis.measures.passage import Passage, angular_distances, image_mean, passages
from resanalysis.network import ResidualNetwork
from resanalysis.path_gradients import freeze
from resanalysis.provenance import Provenance
from resanalysis.routes.batches import (
    Batch,
    Batches,
    Block,
    BlockStore,
    EvaluationData,
    joined,
    recorded_footprint,
)
from resanalysis.statistics.bootstrap import mean_band


def stream_spans(
    network: ResidualNetwork,
    data: EvaluationData,
    *,
    level: float = 0.95,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    store: BlockStore | None = None,
    show_progress: bool = False,
) -> pd.DataFrame:
    """Angular distance between the stream before unit ``start`` and after ``length`` units.

    Spans lie in runs of units that keep the stream's shape, with no bridge inside: those that could be
    cut out whole. Vectors are those of ``stream``: one an image, or one a token and then averaged.

    Returns
    -------
    DataFrame : ``start``, ``length``, ``distance`` (angle over π: 0 the same direction, 0.5 orthogonal),
        ``distance_low``, ``distance_high`` (BCa bootstrap over examples), ``name`` of the first unit,
        ``best``: whether no other span of this length turns the stream less.

    Raises
    ------
    ResanalysisError : if no unit keeps the stream's shape.

    Source: Gromov et al. 2024, "The Unreasonable Ineffectiveness of the Deeper Layers", who read the last
    token only.
    """
    runs = network.runs()
    spans = [(start, end - start) for run in runs for start, end in _pairs(run)]
    if not spans:
        raise ResanalysisError(
            f"no unit of {network.name} keeps the shape of the stream: no span to measure"
        )
    ready = freeze(network, device)
    batches = Batches.of(
        ready,
        data,
        recorded_footprint(4 * (max(len(run) for run in runs) + 1)),
        batch_size=batch_size,
        store=store,
        show_progress=show_progress,
    )

    def distances(batch: Batch) -> Block:
        with torch.no_grad():
            values = _distances(ready, runs, batch)
        return {"distance": np.where(np.isfinite(values), values, np.nan)}

    found = mean_band(joined(batches.each("spans", distances))["distance"], level=level, seed=seed)
    frame = pd.DataFrame(spans, columns=["start", "length"]).assign(
        distance=found.mean,
        distance_low=found.low,
        distance_high=found.high,
        name=[network.units[start].name for start, _ in spans],
    )
    frame["best"] = frame["distance"] == frame.groupby("length")["distance"].transform("min")
    frame.attrs = Provenance.of(
        network,
        data,
        seed,
    ).facts()
    return frame


def _pairs(run: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Every start with every end (one past the last unit) inside a run."""
    for start in run:
        for end in range(start + 1, run[-1] + 2):
            yield start, end


def _distances(
    network: ResidualNetwork, runs: list[tuple[int, ...]], batch: Batch
) -> NDArray[np.float64]:
    """Distances (spans, N); only the streams of one run are held at a time."""
    run_of = {unit: run for run in runs for unit in run}
    streams: list[Tensor] = []
    rows: list[Tensor] = []

    def see(passage: Passage) -> None:
        run = run_of.get(passage.unit.index)
        if run is None:
            return
        # All streams of a run are compared with each other, and none with another run's: then they go.
        if not streams:
            streams.append(passage.entered)
        streams.append(passage.left)
        if passage.unit.index == run[-1]:
            between = angular_distances(streams)
            streams.clear()
            for start, end in _pairs(run):
                distance = image_mean(between[start - run[0], end - run[0]], batch.kept_tokens)
                rows.append(batch.own(distance).cpu())

    passages(network, *network.enter(batch.inputs), see)
    return torch.stack(rows).numpy()
