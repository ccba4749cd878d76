"""``resanalysis effects``: what skipping a unit does to every later one."""

from __future__ import annotations

from resanalysis.cli.analyse import Plan, analyse
from resanalysis.cli.options import Data, Drawing, Model, Output, Source

EXAMPLES = """
resanalysis effects model.pt --data test.npz
resanalysis effects model.pt --data test.npz --limit 200
"""


def effects(
    model: Model,
    source: Source,
    drawing: Drawing,
    output: Output,
    data: Data = None,
) -> None:
    """How far every later branch, and the output, moves as one unit is skipped.

    The relative change of each branch, and the direct part of it, with all units between as they were (Csordás
    et al. 2025). Writes effects.csv, .pdf and .png.
    """
    analyse([Plan("effects", {})], [model], data, source, drawing, output)
