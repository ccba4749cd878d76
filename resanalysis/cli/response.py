"""``resanalysis response``: how strongly each layer responds, for one model or several."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from resanalysis.cli.console import show, tell
from resanalysis.cli.options import Data, Drawing, Models, Output, Source
from resanalysis.cli.subject import examples_of, reading, running

EXAMPLES = """
resanalysis response model.pt --data test.npz
resanalysis response plain=plain56.th residual=resnet56.th --data test.npz --normalize cifar10
"""
WITHOUT = ("output_name", "group", "plain")


def response(
    models: Models,
    source: Source,
    drawing: Drawing,
    output: Output,
    data: Data = None,
    kinds: Annotated[
        str,
        typer.Option(
            metavar="KINDS", help="Layers to measure: 3x3, 1x1, linear, … (commas), or all."
        ),
    ] = "3x3",
    published: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Curves to compare with (net, order, layer_index, std), by the models' labels.",
        ),
    ] = None,
) -> None:
    """Standard deviation of each layer's response.

    Taken after batch norm and before the nonlinearity or addition; after the layer where no batch norm
    follows. Writes response.csv, .pdf and .png: the layers in order, and sorted by size, a line for each
    model (He et al. 2015, Figure 7); with --published also response_distance.csv.
    """
    from resanalysis.experiments import experiment_named
    from resanalysis.figures.tables.response import response as response_figure
    from resanalysis.run.folder import Run
    from resanalysis.run.measured import Analysis
    from resanalysis.run.several import read_several
    from resanalysis.statistics.curves import published_responses, response_distance

    chosen = [kind.strip() for kind in kinds.split(",")]
    curves = None if published is None else published_responses(published)
    measured: dict[str, Any] = {
        "kinds": chosen,
        "submodule": source.submodule,
        "arithmetic": source.arithmetic.value,
    }
    options = {**measured, "published": None if published is None else published.name}
    with Run(output.out, "response", fresh=output.fresh) as run:
        several = read_several(models, data, reading(source, output))
        tell(output, f"{several.model}: {examples_of(several)}")
        analysis = Analysis(run, several, options, output.seed)
        tables = experiment_named("response").measure(
            several,
            **measured,
            seed=output.seed,
            store=analysis.store(),
            **running(several, source, output),
        )
        done = time.perf_counter()
        if curves is not None:
            distance = tables["response_distance"] = response_distance(tables["response"], curves)
            tables["response"].attrs["distance"] = distance.to_dict("records")
        draw = partial(response_figure, tables["response"], published=curves)
        analysis.record(tables, drawing.figures("response", draw), done)
    show(output, {"response": tables["response"]}, f"response of {several.model}", run.files)
