"""``resanalysis prune``: in which order units can go, and the model without some of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resanalysis.cli.altering import PerImage, Recalibrate
from resanalysis.cli.analyse import Plan, say_cost
from resanalysis.cli.console import show, tell
from resanalysis.cli.options import MOST_DRAWS, Data, Drawing, Metric, Model, Output, Source
from resanalysis.cli.subject import running, subject_of
from resanalysis.errors import ResanalysisError
from resanalysis.experiments import experiment_named

if TYPE_CHECKING:
    from resanalysis.experiments.prune_choice import Choice
    from resanalysis.network import ResidualNetwork
    from resanalysis.run.subject import Subject

EXAMPLES = """
resanalysis prune model.pt --data test.npz
resanalysis prune model.pt --data test.npz --orders greedy,influence,random --max-drop 0.01
resanalysis prune model.pt --data test.npz --orders span,span_distance --replace linear
"""


class By(StrEnum):
    """What damage is."""

    loss = "loss"
    error = "error"
    kl = "kl"
    metric = "metric"


class Transitions(StrEnum):
    """Whether units that change the stream's shape may go."""

    eligible = "eligible"
    excluded = "excluded"


class Replace(StrEnum):
    """What is in the place of units that are gone."""

    nothing = "nothing"
    linear = "linear"


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
            help="Separated by commas: greedy, lesion, interactions (of all pairs), span and span_distance "
            "(neighbours), random, or measures of stream (influence, ratio, branch_norm, cosine, "
            "gradient_cosine, gate, bn_scale, scale), with iterative_ before one taken anew after each unit.",
        ),
    ] = None,
    draws: Annotated[
        int, typer.Option(min=1, max=MOST_DRAWS, metavar="N", help="Random orders.")
    ] = 10,
    by: Annotated[
        By | None,
        typer.Option(
            help="What the greedy order keeps low, or of a metric high; where left out the metric if there is "
            "one, the loss, or kl without labels.",
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
    replace: Annotated[
        Replace,
        typer.Option(
            help="linear: in the place of units that are gone, the affine map of channels that comes nearest "
            "to them, found on the calibration half."
        ),
    ] = Replace.nothing,
    follow: Annotated[
        str, typer.Option(metavar="ORDER", help="Whose units --remove and --max-drop take.")
    ] = "greedy",
    metric: Metric = None,
    per_image: PerImage = False,
) -> None:
    """In which order units can go: by measured damage, by cheap measures, at random.

    Orders are found on one part of the examples and measured on the other. Writes prune.csv, .pdf and
    .png: error and speed-up against the units removed. With --remove or --max-drop also the
    model without those units: shortened.pt2, which runs with torch alone, shortened.pt (state dict)
    and shortened.json; where units are replaced, no state dict. Each order is also said as one line,
    greedy: 21,25,3 and so on. Of coco:DIR: mAP and AP50, and orders by mAP.
    """
    chosen = _orders(orders, follow, remove, max_drop)

    from resanalysis.experiments.prune import without_units
    from resanalysis.experiments.prune_choice import choose, order_lines
    from resanalysis.routes.shortening import check_whole
    from resanalysis.run.folder import Run
    from resanalysis.run.measured import Analysis

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
    plan = Plan("prune", options).measuring(metric).with_images(per_image)
    recorded = {**plan.options, "remove": remove, "max_drop": max_drop, "follow": follow}
    shorten = remove is not None or max_drop is not None
    experiment = experiment_named("prune")
    with Run(output.out, "prune", fresh=output.fresh) as run:
        subject = subject_of(model, data, source, output)
        if shorten:
            check_whole(subject.network)
        say_cost("prune", plan.options, subject, output)
        analysis = Analysis(run, subject, recorded, output.seed, plan.code)
        how = running(subject, source, output)
        asked = {**plan.options, **plan.functions, "seed": output.seed}
        tables = experiment.measure(subject, **asked, store=analysis.store(), **how)
        done = time.perf_counter()
        drawn = drawing.figures("prune", partial(experiment.draw, tables))
        choice = None
        if shorten:
            choice = choose(tables["prune"], order=follow, remove=remove, max_drop=max_drop)
            made = partial(
                without_units, subject.network, subject.examples(), replace=replace.value,
                calibration=calibration, seed=output.seed, batch_size=how["batch_size"],
            )  # fmt: skip
            run.files += _written(output.out, subject, choice, made, replace)
        analysis.record(tables, drawn, done)
    for line in order_lines(tables["prune"]):
        tell(output, line)
    if choice is not None:
        _say(output, choice)
    show(output, tables, f"prune of {model}", run.files)


def _orders(
    orders: str | None, follow: str, remove: int | None, max_drop: float | None
) -> list[str] | None:
    """The orders asked for; a mistake in the options is said before anything is read."""
    from resanalysis.experiments.prune_order import DEFAULT, ORDERS

    named = None if orders is None else orders.replace(",", " ").split()
    if named is not None and not set(ORDERS) >= set(named) > set():
        raise typer.BadParameter(f"--orders {orders!r}: choose from {', '.join(ORDERS)}")
    limits = [limit for limit in (remove, max_drop) if limit is not None]
    if len(limits) > 1:
        raise typer.BadParameter("--remove and --max-drop both say how many units go: give one")
    if limits and follow not in (named or DEFAULT):
        raise typer.BadParameter(f"--follow {follow}: it is not among the orders compared")
    return named


def _written(
    folder: Path,
    subject: Subject,
    choice: Choice,
    made: Callable[[tuple[int, ...]], ResidualNetwork],
    replace: Replace,
) -> list[Path]:
    """The files of the shortened model; none where no number of units qualifies."""
    from resanalysis.run.shortened_files import write_shortened

    if not choice.units:
        return []
    return write_shortened(
        folder,
        subject.network,
        choice.units,
        model=subject.module,
        example=subject.example,
        replaced=made(choice.units) if replace is Replace.linear else None,
        facts={
            "order": choice.order,
            "drop": choice.drop if choice.known else None,
            "replace": replace.value,
        },
    )


def _say(output: Output, choice: Choice) -> None:
    if not choice.units:
        raise ResanalysisError(f"{choice.reason}; the table is in {output.out / 'prune.csv'}")
    gone = " ".join(str(unit) for unit in choice.units)
    cost = f": costs {100 * choice.drop:+.2f} points" if choice.known else ""
    tell(output, f"removed {gone}{cost}")
