"""``resanalysis interactions``: delete every two units together."""

from __future__ import annotations

from resanalysis.cli.analyse import Plan, analyse
from resanalysis.cli.options import Data, Drawing, Model, Output, Source

EXAMPLES = """
resanalysis interactions model.pt --data test.npz --limit 500
"""


def interactions(
    model: Model,
    source: Source,
    drawing: Drawing,
    output: Output,
    data: Data = None,
) -> None:
    """Whether units depend on each other: the damage of every pair against the sum of the two.

    All n(n-1)/2 pairs of units are deleted, which takes about n³/6 unit evaluations an example. Writes
    interactions.csv, .pdf and .png: damage of one unit, of the other, of both, and their interaction with
    interval, sign-flip test and false-discovery control, in the loss, the margin of the true class and the
    error.
    """
    analyse([Plan("interactions", {})], [model], data, source, drawing, output)
