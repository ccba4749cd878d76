"""``resanalysis reorder``: exchange units of equal shape."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import Annotated, Any

import typer

from resanalysis.cli.console import show
from resanalysis.cli.options import Data, Metric, Model, Output, Source
from resanalysis.cli.subject import running, subject_of, whole_numbers


class Protocol(StrEnum):
    """How the orders are drawn."""

    even = "even"
    veit = "veit"


def reorder(
    model: Model,
    data: Data,
    source: Source,
    output: Output,
    draws: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Orders to try: 300 in all, or with --protocol veit 50 for each number of swaps.",
        ),
    ] = None,
    protocol: Annotated[
        Protocol,
        typer.Option(
            help="even: spread over Kendall's tau. veit: so many random swaps, as published."
        ),
    ] = Protocol.even,
    swaps: Annotated[
        str | None,
        typer.Option(metavar="K", help="Numbers of swaps of --protocol veit.  [default: 1..20]"),
    ] = None,
    hold: Annotated[
        str | None,
        typer.Option(metavar="U", help="Units that stay in place: 0, 0..3 or 0,9."),
    ] = None,
    metric: Metric = None,
) -> None:
    """The error with residual units in another order.

    Random swaps of units with the same stream shape; transitions stay where they are. Writes
    reorder.csv, .pdf and .png: the error against Kendall's tau between the new order and the
    trained one, over all units (Veit et al. 2016, Figure 5b). The first unit moves in few orders near
    tau 1 and in most far from it: --hold 0 keeps it where it is.
    """
    numbers = None if swaps is None else whole_numbers(swaps, "--swaps")
    held = [] if hold is None else whole_numbers(hold, "--hold", least=0)

    from resanalysis import figures
    from resanalysis.checkpoint.user_function import user_function
    from resanalysis.experiments.reorder import reorder as experiment
    from resanalysis.run.folder import Run
    from resanalysis.run.measured import measure

    with Run(output.out, "reorder", fresh=output.fresh) as run:
        subject = subject_of(model, data, source, output)
        own = None if metric is None else user_function(metric, "--metric")
        options: dict[str, Any] = {"draws": draws, "protocol": protocol.value, "hold": held}
        if numbers is not None:
            options["swaps"] = numbers
        chosen = partial(experiment, subject.network, subject.examples(), **options)
        table = measure(
            run,
            lambda store: chosen(
                metric=own, seed=output.seed, store=store, **running(subject, source, output)
            ),
            figures.reorder,
            options=options if metric is None else {**options, "metric": metric},
            seed=output.seed,
            subject=subject,
        )
    show(output, {"reorder": table}, f"reorder of {model}", run.files)
