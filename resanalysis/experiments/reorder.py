"""The error after swapping units of the same shape: Veit et al. 2016, Figure 5b."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from resanalysis.datasets import Dataset
from resanalysis.errors import ResanalysisError
from resanalysis.experiments.protocol import AGAIN, protocol_of
from resanalysis.experiments.whole import metric_of, of_draws, redrawn_scores, whole_facts
from resanalysis.measures.chance import chance_error
from resanalysis.network import ResidualNetwork
from resanalysis.provenance import Provenance
from resanalysis.routes.answers import Answers
from resanalysis.routes.evaluator import BlockStore, Scores
from resanalysis.routes.metric import Metric
from resanalysis.routes.orders import (
    Groups,
    Order,
    by_swaps,
    count_orders,
    evenly_by_tau,
    every_order,
    tau_bin,
)
from resanalysis.routes.route import interchangeable, kendall_tau, reordered
from resanalysis.statistics.crossed import OVER, crossed_columns
from resanalysis.statistics.whole import Redrawn

Protocol = Literal["even", "veit"]

# Orders, or orders for each number of swaps, if nobody says how many.
SWAPS = tuple(range(1, 21))
DRAWS: dict[str, int] = {"even": 300, "veit": 50}
# Tables and figures bin Kendall tau in steps of this width; random swaps alone stay near 1.
TAU_BIN: dict[str, float] = {"even": 0.05, "veit": 0.025}
MEASURED = ("error", "loss", "agreement", "metric")


@dataclass(frozen=True)
class _Chosen:
    """The orders of a run, and whether they are all there are."""

    orders: list[Order]
    listed: bool


def reorder(
    network: ResidualNetwork,
    data: Dataset,
    *,
    draws: int | None = None,
    protocol: Protocol = "even",
    swaps: Sequence[int] | None = None,
    hold: Sequence[int] = (),
    metric: Metric | type | None = None,
    recalibrate: int | None = None,
    calibrate_on: Dataset | None = None,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    store: BlockStore | None = None,
    show_progress: bool = False,
    answers: Answers | None = None,
) -> pd.DataFrame:
    """Exchange random pairs of units whose streams have the same shape, more and more of them.

    Units stay inside their stage; transitions stay where they are. No order is run twice, and the trained
    one only as draw 0; where there are no more orders than asked for, all are run. Tau is taken over
    **all** units of the chain, also those that cannot move.

    Parameters
    ----------
    draws : random orders, beside the trained one: 300 in all (``even``), or 50 for each number of swaps
        (``veit``) if left out; fewer if there are not as many.
    protocol : ``even`` chooses numbers of swaps so that the orders cover the range of tau evenly; ``veit``
        makes each number of ``swaps`` in turn, as published, which keeps tau near 1.
    swaps : of ``veit``: 1 to 20 if left out.
    hold : units that stay in place. Which units move is not independent of tau: the first unit moves in
        few orders near 1 and in nearly all far from it, and costs more than others. ``hold=[0]`` takes that
        away.
    metric : a score of your own, as in ``lesion``; its mean is the column ``metric``. Of a metric of all
        examples together there are, as of the error, ``map``, ``intact_map`` and ``mean_map``.
    answers : as in ``lesion``.
    recalibrate, calibrate_on : as in ``lesion``: set so many examples aside, and estimate batch-norm
        statistics on them for every order.

    Returns
    -------
    DataFrame : ``draw``, ``swaps``, ``kendall_tau``, ``order`` (unit at each position, separated by
        spaces), ``error``, ``loss``, ``agreement``; ``first_moved``, whether unit 0 runs elsewhere;
        ``tau_stage0``, ``tau_stage1``… over the units of one stage (NaN of a stage with one unit);
        ``largest_displacement``, in positions; ``tau_bin``, the upper end of the bin of tau. Orders of one
        bin that agree in ``first_moved`` form a group; in every row of it: ``distinct``, how many there
        are; ``listed``, whether all orders that there can be were run; ``mean_error`` and the rest, with
        two-way intervals over draws and examples, as in ``lesion_many``. ``chance_error`` is that of
        the best constant answer. With ``recalibrate``, ``error_recalibrated``,
        ``mean_error_recalibrated`` and the rest, of the same orders with statistics estimated anew.

    Raises
    ------
    ResanalysisError : if no two units can change places, or an option makes no sense.

    Source: Veit et al. 2016, §4.3.
    """
    groups = _movable(network, hold)
    chosen = _chosen(len(network), groups, protocol, draws, swaps, seed)
    orders = [Order(tuple(range(len(network))), 0, 0), *chosen.orders]
    rules = protocol_of(network, data, seed, recalibrate=recalibrate, calibrate_on=calibrate_on)
    data = rules.measured
    scored_by = metric_of(metric, data, answers=answers, recalibrate=recalibrate)
    scores = rules.scored(
        [reordered(network, order.units) for order in orders],
        metric=scored_by,
        batch_size=batch_size,
        device=device,
        store=store,
        show_progress=show_progress,
        description="reorder",
        answers=answers,
    )
    width = TAU_BIN[protocol]
    whole = redrawn_scores(scores, scored_by, len(data), seed)
    frame = _table(network, orders, width, scores, whole, chosen.listed, chance_error(data), seed)
    if answers is not None:
        frame["route"] = frame["draw"]
    frame.attrs = Provenance.of(
        network,
        data,
        seed,
        draws=len(chosen.orders),
        protocol=protocol,
        hold=list(hold),
        tau_over=f"all {len(network)} units",
        tau_bin=width,
        movable=sum(len(group) for group in groups),
        interval=OVER,
        **rules.facts,
        **whole_facts(whole),
    ).facts()
    if protocol == "veit":
        frame.attrs["swaps"] = sorted(set(frame["swaps"]) - {0})
    return frame


def _table(
    network: ResidualNetwork,
    orders: Sequence[Order],
    width: float,
    scores: Scores,
    whole: dict[str, Redrawn],
    all_there: bool,
    chance: float,
    seed: int,
) -> pd.DataFrame:
    """A row for each order, the trained one first, and the means of the groups of orders."""
    anew = [f"{name}{AGAIN}" for name in MEASURED]
    values = {n: scores.values[n] for n in (*MEASURED, *anew) if n in scores.values}
    means = {name: scores.mean(name) for name in values}
    frame = _rows(network, orders, width, {n: means[n] for n in MEASURED if n in means})
    # Orders of one bin that agree on unit 0 are draws of one group; the trained order is no draw.
    together = [None, *zip(frame["tau_bin"][1:], frame["first_moved"][1:], strict=True)]
    listed = [all_there] * len(orders)
    frame["distinct"] = [1, *(together.count(group) for group in together[1:])]
    frame["listed"] = listed
    parts = [
        frame,
        crossed_columns(values, together, listed, seed=seed),
        of_draws(whole, range(len(orders)), together, listed, seed),
    ]
    return pd.concat(parts, axis=1).assign(
        chance_error=chance, **{n: means[n] for n in anew if n in means}
    )


def _movable(network: ResidualNetwork, hold: Sequence[int]) -> list[tuple[int, ...]]:
    """Units that may change places, without those held."""
    unknown = [unit for unit in hold if not 0 <= unit < len(network)]
    if unknown:
        raise ResanalysisError(
            f"the network has units 0 to {len(network) - 1}, and is to hold {unknown[0]}"
        )
    free = [tuple(unit for unit in group if unit not in hold) for group in interchangeable(network)]
    groups = [group for group in free if len(group) > 1]
    if not groups:
        held = f" but for the units held, {', '.join(map(str, hold))}" if hold else ""
        raise ResanalysisError(
            f"no two of the {len(network)} units of {network.name} have the same shape and stage"
            f"{held}: there is nothing to reorder"
        )
    return groups


def _chosen(
    units: int,
    groups: Groups,
    protocol: str,
    draws: int | None,
    swaps: Sequence[int] | None,
    seed: int,
) -> _Chosen:
    if protocol not in get_args(Protocol):
        raise ResanalysisError(f"no protocol {protocol!r}; there are even and veit")
    wanted = DRAWS[protocol] if draws is None else draws
    if wanted < 1:
        raise ResanalysisError(f"draws must be at least 1, got {wanted}")
    if swaps is not None and protocol != "veit":
        raise ResanalysisError("the protocol even chooses the numbers of swaps itself; name veit")
    times = sorted(set(SWAPS if swaps is None else swaps))
    if not times or times[0] < 1:
        raise ResanalysisError(f"numbers of swaps are at least 1, got {times or 'none'}")
    if count_orders(groups) <= wanted:
        return _Chosen(every_order(units, groups), True)
    generator = np.random.default_rng(seed)
    if protocol == "veit":
        return _Chosen(by_swaps(units, groups, times, wanted, generator), False)
    return _Chosen(evenly_by_tau(units, groups, wanted, TAU_BIN["even"], generator), False)


def _rows(
    network: ResidualNetwork,
    orders: Sequence[Order],
    width: float,
    means: Mapping[str, NDArray[np.float64]],
) -> pd.DataFrame:
    """The orders with the ``means`` measured of each, and their bins of tau, ``width`` wide."""
    tau = [kendall_tau(order.units) for order in orders]
    frame = pd.DataFrame(
        {
            "draw": range(len(orders)),
            "swaps": [order.swaps for order in orders],
            "kendall_tau": tau,
            "order": [" ".join(map(str, order.units)) for order in orders],
            **means,
        }
    ).join(_moved(network, np.array([order.units for order in orders])))
    frame["tau_bin"] = [1 - width * tau_bin(value, width) for value in tau]
    return frame


def _moved(network: ResidualNetwork, orders: NDArray[np.int64]) -> pd.DataFrame:
    """What moved in each of the orders (draws, units)."""
    positions = np.arange(orders.shape[1])
    facts: dict[str, Any] = {"first_moved": orders[:, 0] != 0}
    for stage in dict.fromkeys(unit.stage for unit in network.units):
        here = np.array([unit.stage == stage for unit in network.units])
        tau = [kendall_tau(order[here].tolist()) for order in orders]
        facts[f"tau_stage{stage}"] = tau if here.sum() > 1 else np.nan
    facts["largest_displacement"] = np.abs(orders - positions).max(axis=1)
    return pd.DataFrame(facts)
