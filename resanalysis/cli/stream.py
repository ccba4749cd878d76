"""``resanalysis stream``: what each unit adds to the stream."""

from __future__ import annotations

from typing import Annotated

import typer

from resanalysis.cli.analyse import Plan, analyse
from resanalysis.cli.options import Comparing, Data, Drawing, Models, Output, Source

EXAMPLES = """
resanalysis stream model.pt --data test.npz
resanalysis stream hf:gpt2 --data tokens:test.npz --group layer --no-damage
"""


def stream(
    models: Models,
    source: Source,
    comparing: Comparing,
    drawing: Drawing,
    output: Output,
    data: Data = None,
    damage: Annotated[
        bool,
        typer.Option(help="Also delete each unit, and compare: which measure tells what can go?"),
    ] = True,
    per_image: Annotated[
        bool,
        typer.Option("--per-image", help="Also stream_images.csv, a row per example and unit."),
    ] = False,
) -> None:
    """What each unit adds to the stream, and which cheap measure tells the units that can go.

    Writes stream.csv, .pdf and .png: norms of branch and skip, their ratio and angle, influence,
    angle with the gradient, early exit, gates and scales; stream_spans.csv: how far spans of units
    turn the stream; and, from a lesion of each unit (stream_lesion.csv), stream_damage.csv: the rank
    correlation of each measure with the damage. From 100 examples on, the damage is measured on one half
    of them and the measures compared with it on the other.
    """
    plan = Plan("stream", {"damage": damage, "per_image": per_image})
    analyse([plan], models, data, source, drawing, output, comparing)
