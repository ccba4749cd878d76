"""``resanalysis scaling``: multiply all branches by one factor."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from resanalysis.cli.analyse import Plan, analyse
from resanalysis.cli.options import Comparing, Data, Drawing, Models, Output, Source, floats

EXAMPLES = """
resanalysis scaling model.pt --data test.npz
resanalysis scaling model.pt --data test.npz --factors 0,0.25,0.5,0.75,1
"""


def scaling(
    models: Models,
    source: Source,
    comparing: Comparing,
    drawing: Drawing,
    output: Output,
    data: Data = None,
    factors: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Numbers separated by commas; where left out, 0 to 1.5 in steps of 0.1.",
        ),
    ] = None,
    images: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Examples to expand the output in the factor for, order by order; 0 leaves it out.",
        ),
    ] = 32,
) -> None:
    """Error and loss as all branches are multiplied by one factor.

    At 1 the network is as trained, at 0 all branches are deleted. Writes scaling.csv, .pdf and .png, and
    scaling_orders.csv: the loss of the output's expansion in the factor up to each order, whose part of
    degree k is the paths of length k, beside their share of the gradient.
    """
    options: dict[str, Any] = {"images": images}
    if factors is not None:
        try:
            options |= {"factors": list(floats(factors))}
        except ValueError:
            raise typer.BadParameter(
                f"--factors {factors!r} is no list of numbers; write it as 0,0.5,1"
            ) from None
    analyse([Plan("scaling", options)], models, data, source, drawing, output, comparing)
