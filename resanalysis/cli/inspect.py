"""``resanalysis inspect``: the unraveled view of a model."""

from __future__ import annotations

from resanalysis.cli.console import show
from resanalysis.cli.options import InputShape, Model, OptionalData, Output, Source
from resanalysis.cli.subject import subject_of


def inspect(
    model: Model,
    source: Source,
    output: Output,
    data: OptionalData = None,
    input_shape: InputShape = None,
) -> None:
    """The chain of residual units that a model is.

    Finds the residual additions in the captured graph, cuts the model there and checks that the
    parts give the model's own output. Writes inspect.csv, .pdf and .png: each unit with skip,
    join, shapes, parameters and floating-point operations. Needs no data if the checkpoint records
    the input shape.
    """
    from resanalysis import figures
    from resanalysis.experiments.inspect import inspect as experiment
    from resanalysis.run.folder import Run
    from resanalysis.run.measured import measure

    with Run(output.out, "inspect", fresh=output.fresh) as run:
        subject = subject_of(model, data, source, output, input_shape)
        table = measure(
            run,
            lambda _: experiment(subject.network, subject.example),
            figures.inspect,
            options={},
            subject=subject,
        )
    show(output, {"inspect": table}, f"{model}, unraveled", run.files)
