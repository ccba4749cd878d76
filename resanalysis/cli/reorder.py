"""``resanalysis reorder``: exchange units of equal shape."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from resanalysis.cli.altering import CalibrateOn, PerImage, Recalibrate
from resanalysis.cli.analyse import Plan, analyse
from resanalysis.cli.options import (
    MOST_DRAWS,
    Comparing,
    Data,
    Drawing,
    Metric,
    Models,
    Output,
    Source,
)
from resanalysis.cli.subject import whole_numbers

EXAMPLES = """
resanalysis reorder model.pt --data test.npz --draws 300
resanalysis reorder model.pt --data test.npz --protocol veit --swaps 1..20
resanalysis reorder model.pt --data test.npz --hold 0
"""


class Protocol(StrEnum):
    """How the orders are drawn."""

    even = "even"
    veit = "veit"


def reorder(
    models: Models,
    source: Source,
    comparing: Comparing,
    drawing: Drawing,
    output: Output,
    data: Data = None,
    draws: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_DRAWS,
            metavar="N",
            help="Orders to try: 300 in all, or with --protocol veit 50 for each number of swaps.",
        ),
    ] = None,
    protocol: Annotated[
        Protocol,
        typer.Option(
            help="even: spread over Kendall's tau. veit: so many random swaps, as published."
        ),
    ] = Protocol.even,
    swaps: Annotated[
        str | None,
        typer.Option(metavar="K", help="Numbers of swaps of --protocol veit.  [default: 1..20]"),
    ] = None,
    hold: Annotated[
        str | None,
        typer.Option(metavar="U", help="Units that stay in place: 0, 0..3 or 0,9."),
    ] = None,
    metric: Metric = None,
    per_image: PerImage = False,
    recalibrate: Recalibrate = None,
    calibrate_on: CalibrateOn = None,
) -> None:
    """The error with residual units in another order.

    Random swaps of units with the same stream shape; transitions stay where they are. Writes
    reorder.csv, .pdf and .png: the error against Kendall's tau between the new order and the
    trained one, over all units (Veit et al. 2016, Figure 5b). The first unit moves in few orders near
    tau 1 and in most far from it: --hold 0 keeps it where it is.
    """
    held = () if hold is None else whole_numbers(hold, "--hold", least=0)
    options: dict[str, Any] = {
        "draws": draws,
        "protocol": protocol.value,
        "hold": held,
        "recalibrate": recalibrate,
    }
    if swaps is not None:
        options["swaps"] = whole_numbers(swaps, "--swaps")
    plan = (
        Plan("reorder", options)
        .measuring(metric)
        .with_images(per_image)
        .calibrated_on(calibrate_on)
    )
    analyse([plan], models, data, source, drawing, output, comparing)
