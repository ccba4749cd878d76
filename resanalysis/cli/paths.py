"""``resanalysis paths``: how long the 2ⁿ paths are."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from resanalysis.cli.console import show
from resanalysis.cli.options import Data, Drawing, InputShape, OptionalModel, Output, Source
from resanalysis.cli.subject import subject_of

EXAMPLES = """
resanalysis paths --depth 110
resanalysis paths model.pt --data test.npz
"""
WITHOUT = ("output_name", "batch_size", "arithmetic", "seed", "limit", "image_seed")


class Block(StrEnum):
    """Layers of one unit: two, or three."""

    basic = "basic"
    bottleneck = "bottleneck"


def paths(
    source: Source,
    drawing: Drawing,
    output: Output,
    model: OptionalModel = None,
    depth: Annotated[
        int | None, typer.Option(metavar="LAYERS", help="Layers of a CIFAR network, 6n + 2.")
    ] = None,
    block: Annotated[
        Block, typer.Option(help="With --depth: bottleneck networks have 9n + 2 layers.")
    ] = Block.basic,
    units: Annotated[int | None, typer.Option(min=1, metavar="N", help="Residual units.")] = None,
    survival: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help="Stochastic depth: linear:0.5 (0.5 at the last unit) or uniform:0.8; left out, what "
            "the MODEL records.",
        ),
    ] = None,
    data: Data = None,
    input_shape: InputShape = None,
) -> None:
    """How many paths there are of each length, exactly.

    A network of n units has 2ⁿ paths from input to output; a path's length is the number of units
    whose branch it takes. Name one of --depth, --units and MODEL. Writes paths.csv, .pdf and .png
    (Veit et al. 2016, Figure 6a).
    """
    given = _the_one({"MODEL": model, "--depth": depth, "--units": units})
    if model is None and (source, data, input_shape) != (Source(), None, None):
        raise typer.BadParameter(
            f"{given} needs no network: options that say how a MODEL is read go with a MODEL"
        )

    from resanalysis.experiments import experiment_named
    from resanalysis.run.folder import Run
    from resanalysis.run.measured import Analysis, measured

    options: dict[str, Any] = {"depth": depth, "block": block.value, "units": units}
    with Run(output.out, "paths", fresh=output.fresh) as run:
        subject = None
        if model is not None:
            subject = subject_of(model, data, source, output, input_shape, needs_data=False)
        # A network trained with stochastic depth says itself how often each branch ran.
        recorded = None if subject is None else subject.survival
        options["survival"] = recorded if survival is None else survival
        analysis = Analysis(run, subject, options)
        tables = measured(analysis, experiment_named("paths"), figures=drawing.figures)
    of = model or f"a network of {given[2:]} {depth or units}"
    show(output, {"paths": tables["paths"]}, f"paths of {of}", run.files)


def _the_one(values: Mapping[str, object]) -> str:
    """Which of the ways to name a network was taken."""
    given = [name for name, value in values.items() if value is not None]
    if len(given) != 1:
        raise typer.BadParameter(
            f"name one of MODEL, --depth and --units, got {' and '.join(given) or 'none of them'}"
        )
    return given[0]
