"""``resanalysis refinement``: is the stream of a stage an estimate that its units refine?"""

from __future__ import annotations

from resanalysis.cli.analyse import Plan, analyse
from resanalysis.cli.options import Data, Drawing, Model, Output, Source

EXAMPLES = """
resanalysis refinement model.pt --data test.npz
resanalysis refinement model.pt --data test.npz --limit 1000
"""


def refinement(
    model: Model,
    source: Source,
    drawing: Drawing,
    output: Output,
    data: Data = None,
) -> None:
    """How far the stream after each unit is from where its stage ends: mean and spread of the error.

    An estimate that is refined has mean error 0 and a spread that falls (Greff et al. 2017). Writes
    refinement.csv, .pdf and .png.
    """
    analyse([Plan("refinement", {})], [model], data, source, drawing, output)
