"""``resanalysis rearrange``: skip, move, repeat or run side by side the units of the middle."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from resanalysis.cli.altering import CalibrateOn, PerImage, Recalibrate
from resanalysis.cli.analyse import Plan, analyse
from resanalysis.cli.options import MOST_DRAWS, Data, Drawing, Metric, Model, Output, Source
from resanalysis.cli.subject import whole_numbers

EXAMPLES = """
resanalysis rearrange model.pt --data test.npz
resanalysis rearrange hf:gpt2 --data tokens:test.npz --group layer --kinds skip,shuffle,parallel
"""


ALL = "skip,reverse,shuffle,repeat,parallel,looped,swap"


class Measure(StrEnum):
    """What the score counts."""

    accuracy = "accuracy"
    agreement = "agreement"


def rearrange(
    model: Model,
    source: Source,
    drawing: Drawing,
    output: Output,
    data: Data = None,
    kinds: Annotated[
        str, typer.Option(metavar="LIST", help="What to do to the middle, separated by commas.")
    ] = ALL,
    sizes: Annotated[
        str | None,
        typer.Option(
            metavar="K",
            help="Units in the middle, such as 1..20 or 4,8,16; where left out, up to 20 sizes.",
        ),
    ] = None,
    draws: Annotated[
        int,
        typer.Option(
            min=1, max=MOST_DRAWS, metavar="N", help="Random orders of shuffle at each size."
        ),
    ] = 10,
    loops: Annotated[
        int, typer.Option(min=1, metavar="N", help="How often looped runs the parallel units.")
    ] = 3,
    stage: Annotated[
        int | None,
        typer.Option(min=0, metavar="S", help="Rearrange the units of this stage alone."),
    ] = None,
    measure: Annotated[
        Measure | None,
        typer.Option(
            help="Right answers, or answers as the intact network gives them; where left out, the "
            "first if there are labels.",
            show_default=False,
        ),
    ] = None,
    metric: Metric = None,
    per_image: PerImage = False,
    recalibrate: Recalibrate = None,
    calibrate_on: CalibrateOn = None,
) -> None:
    """What is left when the units of the middle are rearranged.

    Skipped, reversed, shuffled, all replaced by the centre one, or run in parallel, once or in a
    loop; and each unit swapped with the next. Units move inside their stage; a transformer has one
    stage: give --group layer to move its layers whole. Writes rearrange.csv, .pdf and .png: the
    score, from 1 (intact) to 0 (chance), against the number of units touched (Sun et al. 2024). Of
    coco:DIR: mAP and AP50.
    """
    chosen = [kind.strip() for kind in kinds.split(",") if kind.strip()]
    wanted = None if sizes is None else whole_numbers(sizes, "--sizes")

    from resanalysis.routes.rearranged import KINDS

    unknown = [kind for kind in chosen if kind not in KINDS]
    if unknown or not chosen:
        raise typer.BadParameter(f"--kinds {kinds!r}: choose from {', '.join(KINDS)}")
    options: dict[str, Any] = {
        "kinds": chosen,
        "sizes": wanted,
        "draws": draws,
        "loops": loops,
        "stage": stage,
        "measure": None if measure is None else measure.value,
        "recalibrate": recalibrate,
    }
    plan = Plan("rearrange", options).measuring(metric)
    plan = plan.with_images(per_image).calibrated_on(calibrate_on)
    analyse([plan], [model], data, source, drawing, output)
