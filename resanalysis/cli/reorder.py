"""``resanalysis reorder``: exchange units of equal shape."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from resanalysis.cli.console import show
from resanalysis.cli.options import Data, Metric, Model, Output, Source
from resanalysis.cli.subject import running, subject_of


def reorder(
    model: Model,
    data: Data,
    source: Source,
    output: Output,
    draws: Annotated[
        int, typer.Option(min=1, metavar="N", help="Orders to try, spread over Kendall's tau.")
    ] = 300,
    metric: Metric = None,
) -> None:
    """The error with residual units in another order.

    Random swaps of units with the same stream shape; transitions stay where they are. Writes
    reorder.csv, .pdf and .png: the error against Kendall's tau between the new order and the
    trained one, over all units (Veit et al. 2016, Figure 5b).
    """
    from resanalysis import figures
    from resanalysis.checkpoint.user_function import user_function
    from resanalysis.experiments.reorder import reorder as experiment
    from resanalysis.run.folder import Run
    from resanalysis.run.measured import measure

    with Run(output.out, "reorder", fresh=output.fresh) as run:
        subject = subject_of(model, data, source, output)
        own = None if metric is None else user_function(metric, "--metric")
        options: dict[str, Any] = {"draws": draws}
        if metric is not None:
            options["metric"] = metric
        table = measure(
            run,
            lambda store: experiment(
                subject.network,
                subject.examples(),
                draws=draws,
                metric=own,
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
