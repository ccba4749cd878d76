"""``resanalysis inspect``: the unraveled view of a model."""

from __future__ import annotations

from resanalysis.cli.console import show
from resanalysis.cli.options import Data, Drawing, InputShape, Model, Output, Source
from resanalysis.cli.subject import subject_of

EXAMPLES = """
resanalysis inspect torchvision:resnet18 --input-shape 3,224,224
resanalysis inspect resnet56.th --data test.npz
"""
WITHOUT = ("batch_size", "arithmetic", "seed")


def inspect(
    model: Model,
    source: Source,
    drawing: Drawing,
    output: Output,
    data: Data = None,
    input_shape: InputShape = None,
) -> None:
    """The chain of residual units that a model is.

    Finds the residual additions in the captured graph, cuts the model there and checks that the
    parts give the model's own output. Writes inspect.csv, .pdf and .png: each unit with skip,
    join, shapes, parameters and floating-point operations. Needs no data if the checkpoint records
    the input shape.
    """
    from resanalysis.experiments import experiment_named
    from resanalysis.run.folder import Run
    from resanalysis.run.measured import Analysis, measured

    with Run(output.out, "inspect", fresh=output.fresh) as run:
        subject = subject_of(model, data, source, output, input_shape, needs_data=False)
        analysis = Analysis(run, subject, {})
        tables = measured(analysis, experiment_named("inspect"), figures=drawing.figures)
    show(output, {"inspect": tables["inspect"]}, f"{model}, unraveled", run.files)
