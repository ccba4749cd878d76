"""``resanalysis shapley``: what each unit is worth over all orders in which units can go."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from resanalysis.cli.analyse import Plan, analyse
from resanalysis.cli.options import Comparing, Data, Drawing, Models, Output, Source

EXAMPLES = """
resanalysis shapley model.pt --data test.npz
resanalysis shapley model.pt --data test.npz --precision 0.02
"""


class By(StrEnum):
    """What is shared out."""

    loss = "loss"
    error = "error"
    kl = "kl"


def shapley(
    models: Models,
    source: Source,
    comparing: Comparing,
    drawing: Drawing,
    output: Output,
    data: Data = None,
    by: Annotated[
        By,
        typer.Option(help="What is shared out among the units; kl needs no labels."),
    ] = By.loss,
    orders: Annotated[
        int | None,
        typer.Option(
            min=4,
            metavar="N",
            help="Random orders, reverses counted: an even number. Where left out, 40, or all 2ⁿ "
            "deletions where there are 12 units or fewer.",
        ),
    ] = None,
    precision: Annotated[
        float | None,
        typer.Option(
            metavar="F",
            help="More orders until the half-width over orders of every value is no larger.",
        ),
    ] = None,
) -> None:
    """What each unit is worth: its Shapley value, beside the damage of deleting it alone.

    Units go one after the other until none is left; a unit's value is what its deletion adds to the
    loss, on average over the orders. Values sum to what deleting all units adds. Writes
    shapley.csv, .pdf and .png. Where value and damage differ, units stand in for each other.
    """
    options = {"by": by.value, "orders": orders, "precision": precision}
    analyse([Plan("shapley", options)], models, data, source, drawing, output, comparing)
