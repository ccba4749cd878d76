"""``resanalysis prune``: in which order units can go, and the model without some of them."""

from __future__ import annotations

import time
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

import typer

from resanalysis.cli.console import show, tell
from resanalysis.cli.options import (
    Data,
    Drawing,
    Model,
    Output,
    Recalibrate,
    Replace,
    ReplaceBy,
    Source,
)
from resanalysis.cli.subject import running, subject_of
from resanalysis.errors import ResanalysisError

EXAMPLES = """
resanalysis prune model.pt --data test.npz
resanalysis prune model.pt --data test.npz --orders greedy,influence,random --max-drop 0.01
"""


class By(StrEnum):
    """What damage is."""

    loss = "loss"
    error = "error"
    kl = "kl"


class Transitions(StrEnum):
    """Whether units that change the stream's shape may go."""

    eligible = "eligible"
    excluded = "excluded"


def prune(
    model: Model,
    source: Source,
    drawing: Drawing,
    output: Output,
    data: Data = None,
    orders: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Separated by commas: greedy, lesion, random, or measures of stream (influence, ratio, "
            "branch_norm, cosine, gradient_cosine, gate, bn_scale, scale).",
        ),
    ] = None,
    draws: Annotated[int, typer.Option(min=1, metavar="N", help="Random orders.")] = 10,
    by: Annotated[
        By | None,
        typer.Option(
            help="What the greedy order keeps low; where left out the loss, or kl without labels.",
            show_default=False,
        ),
    ] = None,
    until: Annotated[
        int | None,
        typer.Option(min=1, metavar="K", help="How many units go; where left out, all that can."),
    ] = None,
    transitions: Annotated[
        Transitions,
        typer.Option(help="Whether units that change the stream's shape may go."),
    ] = Transitions.eligible,
    calibration: Annotated[
        float,
        typer.Option(
            min=0, max=1, metavar="F", help="Share of the examples that orders are found on."
        ),
    ] = 0.5,
    timing: Annotated[
        float,
        typer.Option(min=0, metavar="S", help="Seconds to measure speed-ups for; 0 leaves it out."),
    ] = 20.0,
    recalibrate: Recalibrate = None,
    replace: ReplaceBy = Replace.zero,
    remove: Annotated[
        int | None,
        typer.Option(min=1, metavar="K", help="Write the model without the first K units."),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            "--max-drop",
            min=0,
            metavar="F",
            help="Write the model without as many units as raise the error by F (0.01: a point) or less.",
        ),
    ] = None,
    follow: Annotated[
        str, typer.Option(metavar="ORDER", help="Whose units --remove and --max-drop take.")
    ] = "greedy",
) -> None:
    """In which order units can go: by measured damage, by cheap measures, at random.

    Orders are found on one part of the examples and measured on the other. Writes prune.csv, .pdf and
    .png: error and speed-up against the units removed. With --remove or --max-drop also the
    model without those units: shortened.pt2, which runs with torch alone, shortened.pt (state dict)
    and shortened.json.
    """
    chosen = (
        None if orders is None else [name.strip() for name in orders.split(",") if name.strip()]
    )

    from resanalysis.experiments import experiment_named
    from resanalysis.experiments.prune_choice import choose
    from resanalysis.experiments.prune_order import DEFAULT, ORDERS
    from resanalysis.routes.shortening import check_whole
    from resanalysis.run.folder import Run
    from resanalysis.run.measured import Analysis
    from resanalysis.run.shortened_files import write_shortened

    if chosen is not None and (not chosen or set(chosen) - set(ORDERS)):
        raise typer.BadParameter(f"--orders {orders!r}: choose from {', '.join(ORDERS)}")
    if remove is not None and max_drop is not None:
        raise typer.BadParameter("--remove and --max-drop both say how many units go: give one")
    shorten = remove is not None or max_drop is not None
    if shorten and replace is not Replace.zero:
        raise typer.BadParameter(
            f"--replace {replace.value}: a model that is written has nothing in place of its branches"
        )
    if shorten and follow not in (chosen or DEFAULT):
        raise typer.BadParameter(f"--follow {follow}: it is not among the orders compared")
    options: dict[str, Any] = {
        "orders": chosen,
        "draws": draws,
        "by": None if by is None else by.value,
        "until": until,
        "transitions": transitions.value,
        "calibration": calibration,
        "timing": timing,
        "recalibrate": recalibrate,
        "replace": replace.value,
    }
    recorded = {**options, "remove": remove, "max_drop": max_drop, "follow": follow}
    experiment = experiment_named("prune")
    with Run(output.out, "prune", fresh=output.fresh) as run:
        subject = subject_of(model, data, source, output)
        if shorten:
            check_whole(subject.network)
        analysis = Analysis(run, subject, recorded, output.seed)
        tables = experiment.measure(
            subject,
            **options,
            seed=output.seed,
            store=analysis.store(),
            **running(subject, source, output),
        )
        done = time.perf_counter()
        drawn = drawing.figures("prune", partial(experiment.draw, tables))
        choice = None
        if shorten:
            choice = choose(tables["prune"], order=follow, remove=remove, max_drop=max_drop)
        if choice is not None and choice.units:
            run.files += write_shortened(
                output.out,
                subject.network,
                choice.units,
                model=subject.module,
                example=subject.example,
                facts={"order": choice.order, "drop": choice.drop},
            )
        analysis.record(tables, drawn, done)
    if choice is not None and not choice.units:
        raise ResanalysisError(f"{choice.reason}; the table is in {output.out / 'prune.csv'}")
    if choice is not None:
        gone = " ".join(str(unit) for unit in choice.units)
        tell(output, f"removed {gone}: costs {100 * choice.drop:+.2f} points")
    show(output, tables, f"prune of {model}", run.files)
