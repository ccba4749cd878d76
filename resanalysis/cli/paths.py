"""``resanalysis paths``: how long the 2ⁿ paths are."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resanalysis.cli.console import show
from resanalysis.cli.options import InputShape, OptionalData, OptionalModel, Output, Source
from resanalysis.cli.subject import subject_of

if TYPE_CHECKING:
    from resanalysis.pipeline import Subject


class Block(StrEnum):
    """Layers of one unit: two, or three."""

    basic = "basic"
    bottleneck = "bottleneck"


def paths(
    source: Source,
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
    data: OptionalData = None,
    input_shape: InputShape = None,
) -> None:
    """How many paths there are of each length, exactly.

    A network of n units has 2ⁿ paths from input to output; a path's length is the number of units
    whose branch it takes. Name one of --depth, --units and MODEL. Writes paths.csv, .pdf and .png
    (Veit et al. 2016, Figure 6a).
    """
    given = [
        name
        for name, value in (("MODEL", model), ("--depth", depth), ("--units", units))
        if value is not None
    ]
    if len(given) != 1:
        raise typer.BadParameter(
            f"name one of MODEL, --depth and --units, got {' and '.join(given) or 'none of them'}"
        )

    from resanalysis import figures
    from resanalysis.experiments.paths import paths as experiment
    from resanalysis.models.survival import recorded_survival
    from resanalysis.pipeline import measure
    from resanalysis.results import Run

    with Run(output.out, "paths", fresh=output.fresh) as run:
        subject: Subject | None = None
        if model is not None:
            subject = subject_of(model, data, source, output, input_shape)
        options: dict[str, Any] = {
            "depth": depth,
            "block": block.value,
            "units": units,
            "survival": survival,
        }
        if subject is not None and survival is None:
            # A network trained with stochastic depth says itself how often each branch ran.
            options["survival"] = recorded_survival(subject.module)
        network = None if subject is None else subject.network
        table = measure(
            run,
            lambda _: experiment(network, **options),
            figures.paths,
            options=options,
            subject=subject,
        )
    show(
        output,
        {"paths": table},
        f"paths of {model or f'a network of {given[0][2:]} {depth or units}'}",
        run.files,
    )
