"""``resanalysis reorder``: exchange units of equal shape."""

from __future__ import annotations

from typing import Annotated

import typer

from resanalysis.cli.analyse import Plan, analyse
from resanalysis.cli.options import Comparing, Data, Drawing, Metric, Models, Output, Source

EXAMPLES = """
resanalysis reorder model.pt --data test.npz --draws 300
"""


def reorder(
    models: Models,
    source: Source,
    comparing: Comparing,
    drawing: Drawing,
    output: Output,
    data: Data = None,
    draws: Annotated[
        int, typer.Option(min=1, metavar="N", help="Orders to try, spread over Kendall's tau.")
    ] = 300,
    metric: Metric = None,
) -> None:
    """The error with residual units in another order.

    Random swaps of units with the same stream shape; transitions stay where they are. Writes
    reorder.csv, .pdf and .png: the error against Kendall's tau between the new order and the
    trained one, over all units (Veit et al. 2016, Figure 5b).
    """
    plan = Plan("reorder", {"draws": draws}).measuring(metric)
    analyse([plan], models, data, source, drawing, output, comparing)
