"""How much faster the network is with some units of the greedy order gone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from resanalysis.datasets import Dataset
from resanalysis.experiments.prune_measured import Running, Way
from resanalysis.experiments.prune_order import Order
from resanalysis.measures.cost import speed_ups
from resanalysis.network import ResidualNetwork
from resanalysis.routes.batches import Batches, chosen_batch_size

# Speed-ups are timed at this many numbers of units; a batch this large is timed on a CPU.
TIMED_SIZES = 6
TIMED_BATCH = 32


def add_speed_ups(
    frame: pd.DataFrame,
    order: Order,
    way: Way,
    data: Dataset,
    seconds: float,
    seed: int,
    running: Running,
) -> int | None:
    """Time the greedy order at some numbers of units and put that into the table.

    Parameters
    ----------
    order : the first one found; no other than ``greedy`` is timed.
    seconds : about, for all; 0 times nothing.

    Returns
    -------
    int : examples in the batch that was timed, or ``None``.
    """
    if seconds <= 0 or order.name != "greedy":
        return None
    device, steps = running.device, len(order.removals)
    moved = way if device is None else replace(way, network=way.network.to(device))
    removed = sorted({round(float(k)) for k in np.linspace(1, steps, min(TIMED_SIZES, steps))})
    size = _timed_size(moved.network, data, running)
    ratios = speed_ups(
        moved.network,
        [order.removals[k - 1] for k in removed],
        Batches.of(moved.network, data, batch_size=size).batch(0, size).inputs,
        made=moved.module_without,
        seconds=seconds,
        store=running.store,
        seed=seed,
        show_progress=running.show_progress,
    )
    for k, interval in zip(removed, ratios, strict=True):
        at = (frame["order"] == order.name) & (frame["removed"] == k)
        frame.loc[at, ["speedup", "speedup_low", "speedup_high"]] = list(interval)
    return size


def _timed_size(network: ResidualNetwork, data: Dataset, running: Running) -> int:
    if not data.one_size:
        return 1
    most = TIMED_BATCH if network.device.type == "cpu" else 256
    size = running.batch_size or min(chosen_batch_size(network, len(data)), most)
    return min(network.batch_size or size, len(data))
