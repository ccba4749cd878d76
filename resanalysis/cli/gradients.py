"""``resanalysis gradients``: the gradient by path length."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any
from warnings import catch_warnings, filterwarnings

import typer

from resanalysis.cli.console import show
from resanalysis.cli.options import Data, Model, Output, Source
from resanalysis.cli.subject import running, subject_of

if TYPE_CHECKING:
    import pandas as pd

IMAGES = 32


class Place(StrEnum):
    """Where gradients are measured."""

    input = "input"
    first_unit = "first-unit"


def gradients(
    model: Model,
    data: Data,
    source: Source,
    output: Output,
    method: Annotated[
        str,
        typer.Option(metavar="M", help="exact, sampled and rms, or some of them, with commas."),
    ] = "exact,sampled,rms",
    at: Annotated[
        Place,
        typer.Option(help="At the model's input, or at the stream before the first unit (tokens)."),
    ] = Place.input,
    samples: Annotated[
        int | None,
        typer.Option(
            min=2, metavar="N", help="Paths per length; where left out, what --precision takes."
        ),
    ] = None,
    precision: Annotated[
        float,
        typer.Option(
            metavar="P",
            help="Draw paths until the mean norm's relative standard error is below it.",
        ),
    ] = 0.2,
    repetitions: Annotated[
        int, typer.Option(min=2, metavar="N", help="Draws of random signs, for rms.")
    ] = 20,
    max_length: Annotated[
        int | None, typer.Option(min=0, metavar="K", help="Longest path to follow.")
    ] = None,
    double: Annotated[bool, typer.Option("--double", help="Compute in float64.")] = False,
    units: Annotated[
        bool,
        typer.Option(
            "--units", help="Also which units carry it: unit_share.csv, .pdf and .png, a heat map."
        ),
    ] = False,
) -> None:
    """How much of the gradient flows along paths of each length.

    Writes gradients.csv, .pdf and .png (Veit et al. 2016, Figure 6): the mean norm of sampled paths
    as in the paper, their root mean square by random signs, and the exact sum over all paths of each
    length. Uses 32 images, balanced over the classes, unless --limit says otherwise.
    """
    methods = tuple(part.strip() for part in method.split(","))
    unknown = [part for part in methods if part not in ("exact", "sampled", "rms")]
    if unknown:
        raise typer.BadParameter(
            f"--method {method!r}: {unknown[0]!r} is not one of exact, sampled and rms"
        )

    from resanalysis import figures
    from resanalysis.experiments.gradients import gradients as by_length
    from resanalysis.experiments.unit_share import unit_share
    from resanalysis.run.folder import Run
    from resanalysis.run.measured import measure

    source = replace(source, limit=source.limit or IMAGES)
    shared: dict[str, Any] = {
        "at": at.value,
        "max_length": max_length,
        "dtype": "float64" if double else "float32",
    }
    drawn = {"samples": samples, "precision": precision, "repetitions": repetitions}
    subject = subject_of(model, data, source, output)
    plans: list[tuple[str, Any, Any, dict[str, Any]]] = [
        ("gradients", by_length, figures.gradients, {"method": methods, **drawn, **shared})
    ]
    if units:
        plans.append(("unit_share", unit_share, figures.unit_share, shared))
    tables: dict[str, pd.DataFrame] = {}
    files: list[Any] = []
    for stem, experiment, draw, options in plans:
        with Run(output.out, stem, fresh=output.fresh) as run, catch_warnings():
            filterwarnings("ignore", "the interval of mean_norm")  # the headlines say it
            tables[stem] = measure(
                run,
                lambda store, experiment=experiment, options=options: experiment(
                    subject.network,
                    subject.examples(),
                    images=None,
                    seed=output.seed,
                    store=store,
                    **options,
                    **running(subject, source, output),
                ),
                draw,
                options=options,
                seed=output.seed,
                subject=subject,
            )
            files += run.files
    show(output, tables, f"gradients of {model}", files)
