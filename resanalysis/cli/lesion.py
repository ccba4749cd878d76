"""``resanalysis lesion``: delete units, one at a time or many at random."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import Annotated, Any

import typer

from resanalysis.cli.console import show
from resanalysis.cli.options import Data, Metric, Model, Output, Source
from resanalysis.cli.subject import running, subject_of, whole_numbers


class Transitions(StrEnum):
    """Which units --remove may draw."""

    eligible = "eligible"
    excluded = "excluded"
    both = "both"


class Part(StrEnum):
    """What of a unit is taken away."""

    branch = "branch"
    skip = "skip"


def lesion(
    model: Model,
    data: Data,
    source: Source,
    output: Output,
    remove: Annotated[
        str | None,
        typer.Option(metavar="K", help="Delete this many units at random: 5, 1..20 or 1,2,5."),
    ] = None,
    draws: Annotated[
        int, typer.Option(min=1, metavar="N", help="Random draws for each --remove.")
    ] = 100,
    transitions: Annotated[
        Transitions,
        typer.Option(
            help="Whether --remove may delete the units that change the stream's shape, or both "
            "protocols side by side."
        ),
    ] = Transitions.eligible,
    part: Annotated[
        Part, typer.Option(help="skip: cut each unit's skip and keep its branch, as the control.")
    ] = Part.branch,
    metric: Metric = None,
) -> None:
    """The error without each residual unit, or without many at once.

    A deleted unit passes the stream through its skip; weights and batch-norm statistics stay as
    they are. Writes lesion.csv, .pdf and .png: error, paired difference from the intact network
    with its interval, exact McNemar test, Holm's correction (Veit et al. 2016, Figure 3).

    With --remove it writes lesion_many.csv, .pdf and .png instead: k random units deleted together,
    the draws nested (Figure 5a).
    """
    removed = None if remove is None else whole_numbers(remove, "--remove")
    stem = "lesion" if removed is None else "lesion_many"

    from resanalysis import figures
    from resanalysis.checkpoint.user_function import user_function
    from resanalysis.experiments.lesion import lesion as lesion_alone
    from resanalysis.experiments.lesion_many import lesion_many
    from resanalysis.run.folder import Run
    from resanalysis.run.measured import measure

    with Run(output.out, stem, fresh=output.fresh) as run:
        subject = subject_of(model, data, source, output)
        options: dict[str, Any] = {"part": part.value}
        experiment = partial(lesion_alone, subject.network, subject.examples(), **options)
        if removed is not None:
            options = {"removed": removed, "draws": draws, "transitions": transitions.value}
            experiment = partial(lesion_many, subject.network, subject.examples(), **options)
        own = None if metric is None else user_function(metric, "--metric")
        table = measure(
            run,
            lambda store: experiment(
                metric=own, seed=output.seed, store=store, **running(subject, source, output)
            ),
            figures.lesion if removed is None else figures.lesion_many,
            options=options if metric is None else {**options, "metric": metric},
            seed=output.seed,
            subject=subject,
        )
    show(output, {stem: table}, f"{stem} of {model}", run.files)
