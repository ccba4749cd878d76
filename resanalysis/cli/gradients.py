"""``resanalysis gradients``: the gradient by path length."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any

import typer

from resanalysis.cli.analyse import Plan, analyse
from resanalysis.cli.options import Comparing, Data, Drawing, Models, Output, Source

EXAMPLES = """
resanalysis gradients model.pt --data test.npz
resanalysis gradients model.pt --data test.npz --limit 256 --method exact --units
"""


IMAGES = 32


class Place(StrEnum):
    """Where gradients are measured."""

    input = "input"
    first_unit = "first-unit"


def gradients(
    models: Models,
    source: Source,
    comparing: Comparing,
    drawing: Drawing,
    output: Output,
    data: Data = None,
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

    source = replace(source, limit=source.limit or IMAGES)
    shared: dict[str, Any] = {
        "images": None,
        "at": at.value,
        "max_length": max_length,
        "dtype": "float64" if double else "float32",
    }
    drawn = {"samples": samples, "precision": precision, "repetitions": repetitions}
    plans = [Plan("gradients", {"method": methods, **drawn, **shared})]
    if units:
        plans.append(Plan("unit_share", shared))
    analyse(plans, models, data, source, drawing, output, comparing)
