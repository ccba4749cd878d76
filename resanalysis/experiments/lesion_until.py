"""Single lesions that stop: each unit is deleted on as many examples as it takes to know its damage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from resanalysis.datasets import Dataset
from resanalysis.datasets.halves import Section, shuffled
from resanalysis.errors import ResanalysisError
from resanalysis.experiments.lesion_stop import Stop
from resanalysis.experiments.lesion_table import Numbers, lesion_table, rows_of
from resanalysis.measures.chance import chance_error
from resanalysis.network import ResidualNetwork
from resanalysis.provenance import Provenance
from resanalysis.routes.batches import BlockStore
from resanalysis.routes.evaluator import evaluate
from resanalysis.routes.forward_only import forward_only, parts_run
from resanalysis.routes.route import Route
from resanalysis.routes.shared_store import prefixed
from resanalysis.routes.tree import route_blocks
from resanalysis.statistics.bootstrap import Band
from resanalysis.statistics.intervals import unchanged
from resanalysis.statistics.sequences import difference_p, difference_sequence, mean_sequence

# Examples before the first look, and how many times as many at each further one: a row sees at most a quarter
# more than it needs.
_FIRST = 128
_GROWTH = 1.25

INTERVALS = (
    "95 % confidence sequences by betting of error, delta and agreement, and p-values from them, "
    "valid whenever a row stops"
)


@dataclass(frozen=True)
class Seen:
    """What routes did on the examples that each of them saw.

    Attributes
    ----------
    values : by score (routes, N), in the random order; NaN from where a route stopped.
    counts : examples that each route saw; the intact one, as many as any.
    work : unit evaluations.
    """

    values: Mapping[str, NDArray[np.float32]]
    counts: NDArray[np.int64]
    work: int


def check_until(stop: Stop, units: int, given: Mapping[str, Any]) -> None:
    """Refuse what has no meaning with, or no interval under, a rule that stops lesions.

    Parameters
    ----------
    units : how many can be deleted.
    given : other arguments by name; ``None`` where they are not asked for.

    Raises
    ------
    ResanalysisError : naming what cannot be had together.
    """
    stop.check(units)
    for name, value in given.items():
        if value is not None:
            raise ResanalysisError(
                f"{stop.option} stops by the error of single lesions as trained, and "
                f"--{name.replace('_', '-')} is not known of lesions that stop: leave one of them out"
            )


def lesion_until(
    network: ResidualNetwork,
    routes: Sequence[Route],
    place: Mapping[int, int],
    data: Dataset,
    stop: Stop,
    *,
    part: str,
    seed: int,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    store: BlockStore | None = None,
    show_progress: bool = False,
) -> pd.DataFrame:
    """The table of ``lesion`` with a column ``seen``, of routes that stop.

    Parameters
    ----------
    routes : the intact network first.
    place : of each unit among the routes; the intact network is unit −1.
    stop : when a route sees no further examples.
    part : what is taken away, for the caption.
    seed : of the order of the examples.

    Returns
    -------
    DataFrame : every number over the examples that its row saw. Loss and KL have no interval, as they have no
        bound.

    Raises
    ------
    ResanalysisError : if there are no labels, or the data has no order of ours.
    """
    if not isinstance(
        data, Dataset
    ):  # anything with batches can be swept, but not put into another order
        raise ResanalysisError(
            f"{stop.option} takes the examples in random order, which data made by ra.dataset or "
            f"ra.image_dataset can be put into, and {type(data).__name__} cannot: leave it out"
        )
    order = shuffled(data, seed)
    ready = forward_only(
        network, device=device, parts=parts_run(network, routes)
    )  # once for all looks
    seen = _seen(
        ready, routes, order, stop, batch_size=batch_size, device=device, store=store,
        show_progress=show_progress,
    )  # fmt: skip
    error = seen.values["error"]
    change = difference_sequence(error, error[0])
    facts, columns = stop.told(error[1:], error[0])
    for ends, known in zip(change, unchanged(error[0, : seen.counts[0]]), strict=True):
        ends[0] = known
    agreement = mean_sequence(seen.values["agreement"])
    loss, kl = (_mean_alone(seen.values[name]) for name in ("loss", "kl"))
    numbers = Numbers(
        mean_sequence(error),
        change,
        difference_p(error, error[0]),
        {"loss": loss, "agreement": agreement, "kl": kl},
    )
    frame = lesion_table(network, numbers, place)
    frame["chance_error"] = chance_error(data)
    rows = rows_of(network, place)
    frame["seen"] = np.where(rows < 0, 0, seen.counts[rows])
    for name, standing in columns.items():
        frame[name] = [standing[row - 1] if row > 0 else "" for row in rows]
    most = len(data) * _work(routes)
    stated = Provenance.of(network, order, seed, part=part).facts()
    frame.attrs = {
        **stated,
        "n": int(seen.counts.max()),
        "n_available": len(data),
        **facts,
        "intervals": INTERVALS,
        "unit_evaluations": seen.work,
        "unit_evaluations_saved": 1 - seen.work / most,
    }
    return frame


def _seen(
    network: ResidualNetwork,
    routes: Sequence[Route],
    data: Dataset,
    rule: Stop,
    *,
    batch_size: int | None,
    device: torch.device | str | None,
    store: BlockStore | None,
    show_progress: bool,
) -> Seen:
    """Evaluate more and more examples on fewer and fewer routes of a network that is prepared."""
    going = list(range(1, len(routes)))
    counts = np.zeros(len(routes), dtype=np.int64)
    values: dict[str, NDArray[np.float32]] = {}
    start, work = 0, 0
    while going and start < len(data):
        stop = min(max(_FIRST, int(start * _GROWTH)), len(data))
        # The intact network sees what any other does, as all are compared with it.
        now = [0, *going]
        chosen = [routes[number] for number in now]
        found = evaluate(
            network,
            chosen,
            Section(data, start, stop),
            fast=False,
            device=device if network.files is not None else None,  # else it is there
            # Which routes go on follows from the examples before. A run that goes on comes to the same names.
            store=prefixed(store, f"until {start} {now}"),
            batch_size=batch_size,
            show_progress=show_progress,
            description=f"lesion, {len(going)} units",
        ).values
        for name, scores in found.items():
            empty = np.full((len(routes), len(data)), np.nan, dtype=np.float32)
            values.setdefault(name, empty)[now, start:stop] = scores
        error = values["error"][:, :stop]
        if np.isnan(error[0]).any():
            raise ResanalysisError(
                f"{rule.option} stops by the error, and there are examples without labels: leave it out, or "
                "give labelled data"
            )
        counts[now] = stop
        work += (stop - start) * _work(chosen)
        # Asked of all, and not of those that go on alone: where a row stands depends on the others' ends.
        done = rule.done(error[1:], error[0])
        going = [number for number in going if not done[number - 1]]
        start = stop
    return Seen(values, counts, work)


def _work(routes: Sequence[Route]) -> int:
    """Unit evaluations for one example, each common beginning once."""
    return sum(block.tree.size for block in route_blocks(routes))


def _mean_alone(values: NDArray[np.float32]) -> Band:
    """Means over what each route saw, without an interval."""
    unknown = np.full(len(values), np.nan)
    return Band(np.asarray(np.nanmean(values, axis=1, dtype=np.float64)), unknown, unknown)
