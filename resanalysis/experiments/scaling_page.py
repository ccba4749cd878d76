"""Everything ``resanalysis scaling`` writes: the network at every factor, and the orders of the expansion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from resanalysis.datasets import Dataset
from resanalysis.experiments.scaling import FACTORS, scaling
from resanalysis.experiments.scaling_orders import IMAGES, scaling_orders
from resanalysis.network import ResidualNetwork


def scaling_page(
    network: ResidualNetwork,
    data: Dataset,
    *,
    factors: Sequence[float] = FACTORS,
    images: int = IMAGES,
    seed: int = 0,
    **running: Any,
) -> dict[str, pd.DataFrame]:
    """The tables of ``scaling`` and ``scaling_orders`` by name.

    Parameters
    ----------
    images : examples for the orders; 0 leaves them out.
    running : ``batch_size``, ``device``, ``store`` and ``show_progress``.

    Returns
    -------
    dict : orders are left out where they are not defined: without one label an example, where the head reads
        the stream at several places, and in bf16.
    """
    tables = {"scaling": scaling(network, data, factors=factors, seed=seed, **running)}
    one_label = data.labels is not None and np.asarray(data.labels).ndim == 1
    if images and one_label and not network.taps and network.arithmetic != "bf16":
        tables["scaling_orders"] = scaling_orders(
            network, data, images=images, seed=seed, **running
        )
    return tables
