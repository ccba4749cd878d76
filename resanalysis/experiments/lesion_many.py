"""The error without k random units: Veit et al. 2016, Figure 5a."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from resanalysis.datasets import Dataset
from resanalysis.errors import ResanalysisError
from resanalysis.network import ResidualNetwork
from resanalysis.routes.evaluator import BlockStore, evaluate
from resanalysis.routes.route import intact, without
from resanalysis.routes.scores import Metric

Eligible = Literal["both", "eligible", "excluded"]


def lesion_many(
    network: ResidualNetwork,
    data: Dataset,
    *,
    removed: Sequence[int] = tuple(range(1, 21)),
    draws: int = 100,
    metric: Metric | None = None,
    transitions: Eligible = "eligible",
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    store: BlockStore | None = None,
    show_progress: bool = False,
) -> pd.DataFrame:
    """Delete k units drawn at random and measure the network, for several k.

    Each draw is a random order of the units; its first k are deleted. The deletions of one draw are
    nested and the same orders serve every k: common random numbers, so that curves can be compared.

    Parameters
    ----------
    removed : numbers of units to delete; those above the number of eligible units are left out.
    draws : orders per k; at least 30 make an interval worth drawing.
    transitions : whether units that change the stream's shape may be deleted: ``"eligible"``,
        ``"excluded"``, or ``"both"`` protocols side by side (the paper does not say).
    metric : a score of your own, as in ``lesion``; its means are ``metric`` and ``intact_metric``.

    Returns
    -------
    DataFrame : ``removed``, ``draw``, ``units`` (indices, separated by spaces), ``error``, ``loss``,
        ``agreement``, ``transitions_eligible``, and the intact network's ``intact_error`` and
        ``intact_loss`` in every row. Draws of the second protocol are numbered on from the first's.

    Raises
    ------
    ResanalysisError : if no k is between 1 and the number of eligible units.

    Source: Veit et al. 2016, §4.2.
    """
    if draws < 1:
        raise ResanalysisError(f"draws must be at least 1, got {draws}")
    rows: list[dict[str, Any]] = []
    left_out: set[int] = set()
    protocols = {"both": (True, False), "eligible": (True,), "excluded": (False,)}[transitions]
    if not any(unit.transition for unit in network.units):
        protocols = (True,)
    for number, eligible in enumerate(protocols):
        pool = [u.index for u in network.units if u.deletable and (eligible or not u.transition)]
        generator = np.random.default_rng([seed, int(eligible)])
        orders = [generator.permutation(pool) for _ in range(draws)]
        sizes = [k for k in sorted(set(removed)) if 1 <= k <= len(pool)]
        left_out |= {k for k in removed if k not in sizes}
        rows += [
            {
                "removed": k,
                "draw": draw + number * draws,
                "units": " ".join(str(unit) for unit in sorted(order[:k])),
                "transitions_eligible": eligible,
            }
            for k in sizes
            for draw, order in enumerate(orders)
        ]
    if not rows:
        raise ResanalysisError(
            f"none of {list(removed)} units can be deleted from the {len(network)} of {network.name}"
        )
    frame = pd.DataFrame(rows)
    names = list(dict.fromkeys(frame["units"]))
    routes = [
        intact(network),
        *(without(network, [int(unit) for unit in name.split()]) for name in names),
    ]
    scores = evaluate(
        network,
        routes,
        data,
        metric=metric,
        batch_size=batch_size,
        device=device,
        store=store,
        show_progress=show_progress,
        description="lesion_many",
    )
    row_of = {name: row for row, name in enumerate(names, start=1)}
    place = [row_of[name] for name in frame["units"]]
    for name in ("error", "loss", "agreement"):
        frame[name] = scores.mean(name)[place]
    frame["intact_error"], frame["intact_loss"] = scores.mean("error")[0], scores.mean("loss")[0]
    frame["transitions_eligible"] = frame.pop("transitions_eligible")
    if metric is not None:
        frame["metric"] = scores.mean("metric")[place]
        frame["intact_metric"] = scores.mean("metric")[0]
    frame.attrs = {
        "model": network.name,
        "data": data.name,
        "n": len(data),
        "seed": seed,
        "draws": draws,
        "transitions": transitions,
        "left_out": sorted(left_out),
        "batch_norm": "running statistics",
        "subset": data.subset,
    }
    return frame
