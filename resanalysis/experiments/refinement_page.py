"""Everything ``resanalysis refinement`` writes: the units, and the prediction depth of each example."""

from __future__ import annotations

from typing import Any

import pandas as pd

from resanalysis.datasets import Dataset
from resanalysis.experiments.refinement import units_table
from resanalysis.experiments.refinement_depth import depth_table
from resanalysis.experiments.refinement_exits import exits
from resanalysis.experiments.refinement_images import refinement_images
from resanalysis.network import ResidualNetwork


def refinement_page(
    network: ResidualNetwork, data: Dataset, *, seed: int = 0, **running: Any
) -> dict[str, pd.DataFrame]:
    """The tables of ``refinement`` and ``refinement_depth`` by name, from one measurement.

    Parameters
    ----------
    running : ``batch_size``, ``device``, ``store`` and ``show_progress``.

    Returns
    -------
    dict : depths are left out where the output is not (N, classes).
    """
    values = refinement_images(network, data, **running)
    read = exits(values, len(network), seed)
    tables = {"refinement": units_table(network, data, values, read, seed)}
    if read is not None:
        tables["refinement_depth"] = depth_table(network, data, values, read, seed)
    return tables
