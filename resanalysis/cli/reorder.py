"""``resanalysis reorder``: exchange units of equal shape."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from resanalysis.cli.console import show
from resanalysis.cli.options import Data, Model, Output, Source
from resanalysis.cli.subject import running, subject_of


def reorder(
    model: Model,
    data: Data,
    source: Source,
    output: Output,
    draws: Annotated[
        int, typer.Option(min=1, metavar="N", help="Orders to try, spread over Kendall's tau.")
    ] = 300,
) -> None:
    """The error with residual units in another order.

    Random swaps of units with the same stream shape; transitions stay where they are. Writes
    reorder.csv, .pdf and .png: the error against Kendall's tau between the new order and the
    trained one, over all units (Veit et al. 2016, Figure 5b).
    """
    from resanalysis import figures
    from resanalysis.experiments.reorder import reorder as experiment
    from resanalysis.pipeline import measure
    from resanalysis.results import Run

    with Run(output.out, "reorder", fresh=output.fresh) as run:
        subject = subject_of(model, data, source, output)
        options: dict[str, Any] = {"draws": draws}
        table = measure(
            run,
            lambda store: experiment(
                subject.network,
                subject.examples(),
                **options,
                seed=output.seed,
                store=store,
                **running(subject, source, output),
            ),
            figures.reorder,
            options=options,
            seed=output.seed,
            subject=subject,
        )
    show(output, {"reorder": table}, f"reorder of {model}", run.files)
