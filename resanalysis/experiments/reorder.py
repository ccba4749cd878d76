"""The error after swapping units of the same shape: Veit et al. 2016, Figure 5b."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from resanalysis.datasets import Dataset
from resanalysis.errors import ResanalysisError
from resanalysis.network import ResidualNetwork
from resanalysis.routes.evaluator import BlockStore, evaluate
from resanalysis.routes.route import interchangeable, kendall_tau, reordered
from resanalysis.routes.scores import Metric

# Tables and figures bin Kendall tau in steps of this width.
TAU_BIN = 0.05


def reorder(
    network: ResidualNetwork,
    data: Dataset,
    *,
    draws: int = 300,
    metric: Metric | None = None,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    store: BlockStore | None = None,
    show_progress: bool = False,
) -> pd.DataFrame:
    """Exchange random pairs of units whose streams have the same shape, more and more of them.

    Units stay inside their stage; transitions stay where they are. The numbers of swaps are chosen so
    that the orders cover the range of Kendall's tau evenly, from one swap to thorough shuffles. Tau is
    taken over **all** units of the chain, also those that cannot move.

    Parameters
    ----------
    draws : random orders, beside the trained one (draw 0); fewer if there are not as many.
    metric : a score of your own, as in ``lesion``; its mean is the column ``metric``.

    Returns
    -------
    DataFrame : ``draw``, ``swaps``, ``kendall_tau``, ``order`` (unit at each position, separated by
        spaces), ``error``, ``loss``, ``agreement``.

    Raises
    ------
    ResanalysisError : if no two units can change places.

    Source: Veit et al. 2016, §4.3.
    """
    groups = [group for group in interchangeable(network) if len(group) > 1]
    if not groups:
        raise ResanalysisError(
            f"no two of the {len(network)} units of {network.name} have the same shape and stage: "
            "there is nothing to reorder"
        )
    if draws < 1:
        raise ResanalysisError(f"draws must be at least 1, got {draws}")
    generator = np.random.default_rng(seed)
    chosen = _evenly_by_tau(len(network), groups, draws, generator)
    orders = [(0, tuple(range(len(network)))), *chosen]
    scores = evaluate(
        network,
        [reordered(network, order) for _, order in orders],
        data,
        metric=metric,
        batch_size=batch_size,
        device=device,
        store=store,
        show_progress=show_progress,
        description="reorder",
    )
    frame = pd.DataFrame(
        {
            "draw": range(len(orders)),
            "swaps": [swaps for swaps, _ in orders],
            "kendall_tau": [kendall_tau(order) for _, order in orders],
            "order": [" ".join(str(unit) for unit in order) for _, order in orders],
            **{name: scores.mean(name) for name in ("error", "loss", "agreement")},
            **({} if metric is None else {"metric": scores.mean("metric")}),
        }
    )
    frame.attrs = {
        "model": network.name,
        "data": data.name,
        "n": len(data),
        "seed": seed,
        "draws": len(chosen),
        "tau_over": f"all {len(network)} units",
        "movable": sum(len(group) for group in groups),
        "batch_norm": "running statistics",
        "subset": data.subset,
    }
    return frame


def _evenly_by_tau(
    units: int, groups: list[tuple[int, ...]], draws: int, generator: np.random.Generator
) -> list[tuple[int, tuple[int, ...]]]:
    """Orders whose tau is spread evenly: many candidates, then the same number from every bin of tau."""
    movable = sum(len(group) for group in groups)
    weights = np.array([len(group) * (len(group) - 1) / 2 for group in groups])
    candidates: list[tuple[int, tuple[int, ...]]] = []
    for swaps in np.unique(np.geomspace(1, max(2, 2 * movable), 12).round().astype(int)):
        for _ in range(max(draws, 50)):
            order = list(range(units))
            for pick in generator.choice(len(groups), size=swaps, p=weights / weights.sum()):
                a, b = generator.choice(groups[pick], size=2, replace=False)
                order[a], order[b] = order[b], order[a]
            if order != list(range(units)):
                candidates.append((int(swaps), tuple(order)))
    bins: dict[int, list[int]] = {}
    for index in generator.permutation(len(candidates)):
        tau = kendall_tau(candidates[index][1])
        bins.setdefault(int((1 - tau) / TAU_BIN), []).append(int(index))
    kept: list[int] = []
    taken: set[tuple[int, ...]] = set()
    while len(kept) < draws and any(bins.values()):
        for name in sorted(bins):
            if bins[name] and len(kept) < draws:
                index = bins[name].pop()
                if candidates[index][1] not in taken:
                    taken.add(candidates[index][1])
                    kept.append(index)
    return [candidates[index] for index in sorted(kept)]
