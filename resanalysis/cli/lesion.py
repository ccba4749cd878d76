"""``resanalysis lesion``: delete units, one at a time or many at random."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from resanalysis.cli.altering import CalibrateOn, PerImage, Recalibrate, Replace, ReplaceBy
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
resanalysis lesion model.pt
resanalysis lesion model.pt --data test.npz --normalize cifar10
resanalysis lesion model.pt --data test.npz --remove 1..20 --draws 100
resanalysis lesion bundled:resnet56-fashion-mnist --recalibrate 600
resanalysis lesion bundled:resnet56-fashion-mnist --until-width 0.05
resanalysis lesion bundled:resnet56-fashion-mnist --top 3
"""


class Transitions(StrEnum):
    """Which units --remove may draw."""

    eligible = "eligible"
    excluded = "excluded"
    both = "both"


class Part(StrEnum):
    """What of a unit is taken away."""

    branch = "branch"
    skip = "skip"


def lesion(
    models: Models,
    source: Source,
    comparing: Comparing,
    drawing: Drawing,
    output: Output,
    data: Data = None,
    remove: Annotated[
        str | None,
        typer.Option(metavar="K", help="Delete this many units at random: 5, 1..20 or 1,2,5."),
    ] = None,
    draws: Annotated[
        int,
        typer.Option(min=1, max=MOST_DRAWS, metavar="N", help="Random draws for each --remove."),
    ] = 100,
    transitions: Annotated[
        Transitions,
        typer.Option(
            help="Whether --remove may delete the units that change the stream's shape, or both "
            "protocols side by side."
        ),
    ] = Transitions.eligible,
    part: Annotated[
        Part, typer.Option(help="skip: cut each unit's skip and keep its branch, as the control.")
    ] = Part.branch,
    metric: Metric = None,
    per_image: PerImage = False,
    recalibrate: Recalibrate = None,
    replace: ReplaceBy = Replace.zero,
    mean_over: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Examples set aside for the means of --replace.  [default: 200]",
            show_default=False,
        ),
    ] = None,
    calibrate_on: CalibrateOn = None,
    until_width: Annotated[
        float | None,
        typer.Option(
            metavar="W",
            help="Take examples in random order, and stop deleting a unit once the interval of its delta is "
            "this narrow, such as 0.02.",
            show_default=False,
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="K",
            help="Take examples in random order, and stop deleting a unit once it is known whether it is among "
            "the K most or the K least needed.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """The error without each residual unit, or without many at once.

    A deleted unit passes the stream through its skip; weights and batch-norm statistics stay as
    they are: --recalibrate tells how much of the damage is statistics that no longer fit. Writes
    lesion.csv, .pdf and .png: error, paired difference from the intact network with its interval,
    exact McNemar test, Holm's correction (Veit et al. 2016, Figure 3).

    With --remove it writes lesion_many.csv, .pdf and .png instead: k random units deleted together,
    the draws nested (Figure 5a). With --per-image also what each network answers on each example and,
    of single units, the damage by class and the examples that most deletions flip. With --until-width
    or --top each unit sees as many examples as it takes, and intervals hold though it stops by them.
    """
    options: dict[str, Any]
    if remove is None:
        stem, options = "lesion", {"part": part.value}
        rules = {"until_width": until_width, "top": top}
        options |= {name: value for name, value in rules.items() if value is not None}
    elif until_width is not None or top is not None:
        option = "--top" if until_width is None else "--until-width"
        raise typer.BadParameter(f"{option} stops single lesions: leave out --remove, or it")
    else:
        removed = whole_numbers(remove, "--remove")
        stem = "lesion_many"
        options = {"removed": removed, "draws": draws, "transitions": transitions.value}
    options |= {"recalibrate": recalibrate, "replace": replace.value, "mean_over": mean_over}
    plan = Plan(stem, options).measuring(metric).with_images(per_image).calibrated_on(calibrate_on)
    analyse([plan], models, data, source, drawing, output, comparing)
