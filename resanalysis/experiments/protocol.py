"""What beside the routes decides a network's scores: batch-norm statistics, and what stands in for branches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from resanalysis.datasets import Dataset
from resanalysis.datasets.halves import others, set_aside
from resanalysis.errors import ResanalysisError
from resanalysis.network import ResidualNetwork
from resanalysis.routes.answers import Answers
from resanalysis.routes.batches import FORWARD, Batches, BlockStore, EvaluationData, free_memory
from resanalysis.routes.evaluator import Scores, evaluate, placed_network
from resanalysis.routes.metric import Metric
from resanalysis.routes.recalibration import check_recalibrates
from resanalysis.routes.route import Route
from resanalysis.routes.shared_store import prefixed
from resanalysis.routes.stand_in import Paired, Replace, check_replace, with_donors, with_means
from resanalysis.routes.streamed import check_streams
from resanalysis.routes.whole import WholeMetric

AGAIN = "_recalibrated"
"""Ends the name of a score whose batch-norm statistics were estimated anew."""
MEANS_OVER = 200


@dataclass(frozen=True, eq=False)
class Protocol:
    """A network and examples as an experiment scores them.

    Attributes
    ----------
    network : with the stand-ins of deleted branches.
    measured : the examples that are scored.
    calibration : those that statistics are estimated on; ``None`` where they stay as trained.
    donors : seed by which each example is given the other whose branches stand in; ``None`` without.
    facts : what a caption has to state.
    """

    network: ResidualNetwork
    measured: Dataset
    calibration: Dataset | None = None
    donors: int | None = None
    facts: dict[str, Any] = field(default_factory=dict[str, Any])

    def given(self, data: Dataset) -> EvaluationData:
        """The examples as the network takes them."""
        return data if self.donors is None else Paired(data, others(data, self.donors))

    def scored(
        self,
        routes: Sequence[Route],
        *,
        batch_size: int | None = None,
        device: torch.device | str | None = None,
        fast: bool = True,
        metric: Metric | WholeMetric | None = None,
        answers: Answers | None = None,
        store: BlockStore | None = None,
        show_progress: bool = False,
        description: str = "evaluating",
    ) -> Scores:
        """Scores of the routes as trained, and under ``NAME_recalibrated`` with statistics estimated anew.

        The latter are compared with the intact network whose statistics are estimated anew too. Answers are
        those as trained.
        """
        place = torch.device(device) if device is not None else self.network.device
        memory = None
        if self.donors is not None:  # beside the streams, the output of every branch is kept
            held = FORWARD.held + len(self.network)
            memory = free_memory(place) // 4 * FORWARD.held // held
        how: dict[str, Any] = {
            "batch_size": batch_size,
            "device": device,
            "memory": memory,
            "fast": fast,
            "metric": metric,
            "show_progress": show_progress,
        }
        data = self.given(self.measured)
        found = evaluate(
            self.network,
            routes,
            data,
            store=store,
            description=description,
            answers=answers,
            **how,
        )
        values = found.values
        if self.calibration is not None:
            again = evaluate(
                self.network,
                routes,
                data,
                calibration=self.given(self.calibration),
                store=prefixed(store, "recalibrated"),
                description=f"{description}, recalibrated",
                **how,
            ).values
            values = values | {f"{name}{AGAIN}": rows for name, rows in again.items()}
        return Scores(values, found.records)


def recalibrated(column: str) -> str:
    """The name of a column whose batch-norm statistics were estimated anew: ``error_recalibrated_low``."""
    for end in ("_low", "_high"):
        if column.endswith(end):
            return f"{column.removesuffix(end)}{AGAIN}{end}"
    return f"{column}{AGAIN}"


def protocol_of(
    network: ResidualNetwork,
    data: Dataset,
    seed: int,
    *,
    recalibrate: int | None = None,
    by: Replace = "zero",
    mean_over: int | None = None,
    calibrate_on: Dataset | None = None,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    store: BlockStore | None = None,
) -> Protocol:
    """Set examples aside and prepare the network on them.

    Parameters
    ----------
    recalibrate : examples to estimate batch-norm statistics on.
    by, mean_over : what stands in for a deleted branch, and the number of examples of a mean: 200 if left
        out.
    calibrate_on : where both kinds of examples come from; they are set aside of ``data`` if left out.

    Raises
    ------
    ResanalysisError : if too few examples are left, the network has no batch norm, its branches can have no
        stand-in, or ``calibrate_on`` is for nothing or is what is measured; for any of these where the weights
        are in files.
    """
    replaced = None if by == "zero" else by
    check_streams(network, {"recalibrate": recalibrate, "replace": replaced})
    calibration = means = None
    averages = by in ("mean", "element-mean")
    if calibrate_on is not None:
        _check_elsewhere(calibrate_on, data, wanted=averages or recalibrate is not None)
    if recalibrate is not None:
        what = "batch-norm statistics are estimated anew"
        calibration, data = _apart(calibrate_on, data, recalibrate, seed, what)
    if averages:
        n = MEANS_OVER if mean_over is None else mean_over
        means, data = _apart(calibrate_on, data, n, seed, "means of branches are taken")
    elif mean_over is not None:
        raise ResanalysisError(
            f"--mean-over (mean_over=) says over how many examples a mean is, and {by} is none: leave it "
            "out, or replace by mean or element-mean"
        )
    check_replace(network, by)
    plain = recalibrating(network, data, calibration)
    if calibrate_on is not None:
        facts = {"calibrate_on": calibrate_on.name, "calibrate_on_sha256": calibrate_on.sha256}
        plain = replace(plain, facts={**plain.facts, **facts})
    if by == "zero":
        return plain
    facts = {**plain.facts, "replace": by}
    if by == "resample" or means is None:
        first = Batches.of(network, data, batch_size=2).batch(0, 1)
        return replace(plain, network=with_donors(network, first.inputs), donors=seed, facts=facts)
    lesioned = with_means(
        placed_network(network, device), means, by, batch_size=batch_size, store=prefixed(store, "means")
    )  # fmt: skip
    return replace(plain, network=lesioned, facts={**facts, "means_over": len(means)})


def _check_elsewhere(calibrate_on: Dataset, data: Dataset, *, wanted: bool) -> None:
    if not wanted:
        raise ResanalysisError(
            "--calibrate-on (calibrate_on=) says where examples for statistics or means come from, and none "
            "are asked for: give it with --recalibrate, or with --replace mean or element-mean"
        )
    if calibrate_on.source.digest() == data.source.digest():
        raise ResanalysisError(
            f"{calibrate_on.name} is what is measured: leave out --calibrate-on (calibrate_on=), and some of "
            "it is set aside"
        )


def _apart(
    elsewhere: Dataset | None, data: Dataset, n: int, seed: int, what: str
) -> tuple[Dataset, Dataset]:
    """``n`` examples that are not measured, and those that are."""
    if elsewhere is None:
        return set_aside(data, n, seed, what)
    if not 0 < n <= len(elsewhere):
        raise ResanalysisError(
            f"{what} on {n} examples of the {len(elsewhere)} in {elsewhere.name}: give 1 to {len(elsewhere)}"
        )
    return elsewhere.limited(n, seed), data


def recalibrating(network: ResidualNetwork, data: Dataset, calibration: Dataset | None) -> Protocol:
    """Nothing in place of branches; batch-norm statistics estimated anew on ``calibration`` if there is one.

    Parameters
    ----------
    calibration : none of ``data``.
    """
    if calibration is None:
        return Protocol(network, data)
    check_recalibrates(network, len(calibration))
    facts: dict[str, Any] = {
        "recalibrate": len(calibration),
        "recalibrated_on": calibration.subset,
        "batch_norm": f"running statistics; in columns …{AGAIN} estimated anew on "
        f"{len(calibration)} examples that are not measured",
    }
    return Protocol(network, data, calibration, facts=facts)
