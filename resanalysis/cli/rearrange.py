"""``resanalysis rearrange``: skip, move, repeat or run side by side the units of the middle."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from resanalysis.cli.console import show
from resanalysis.cli.options import Data, Model, Output, Source
from resanalysis.cli.subject import running, subject_of, whole_numbers

ALL = "skip,reverse,shuffle,repeat,parallel,looped,swap"


class Measure(StrEnum):
    """What the score counts."""

    accuracy = "accuracy"
    agreement = "agreement"


def rearrange(
    model: Model,
    data: Data,
    source: Source,
    output: Output,
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
        int, typer.Option(min=1, metavar="N", help="Random orders of shuffle at each size.")
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
) -> None:
    """What is left when the units of the middle are rearranged.

    Skipped, reversed, shuffled, all replaced by the centre one, or run in parallel, once or in a
    loop; and each unit swapped with the next. Units move inside their stage; a transformer has one
    stage: give --group layer to move its layers whole. Writes rearrange.csv, .pdf and .png: the
    score, from 1 (intact) to 0 (chance), against the number of units touched (Sun et al. 2024).
    """
    chosen = [kind.strip() for kind in kinds.split(",") if kind.strip()]
    wanted = None if sizes is None else whole_numbers(sizes, "--sizes")

    from resanalysis import figures
    from resanalysis.experiments.rearrange import rearrange as experiment
    from resanalysis.routes.rearranged import KINDS
    from resanalysis.run.folder import Run
    from resanalysis.run.measured import measure as measured

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
    }
    with Run(output.out, "rearrange", fresh=output.fresh) as run:
        subject = subject_of(model, data, source, output)
        table = measured(
            run,
            lambda store: experiment(
                subject.network,
                subject.examples(),
                **options,
                seed=output.seed,
                store=store,
                **running(subject, source, output),
            ),
            figures.rearrange,
            options=options,
            seed=output.seed,
            subject=subject,
        )
    show(output, {"rearrange": table}, f"rearrange of {model}", run.files)
