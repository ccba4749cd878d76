"""``resanalysis prune``: in which order units can go, and the model without some of them."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resanalysis.cli.console import show, tell
from resanalysis.cli.options import Data, Model, Output, Source
from resanalysis.cli.subject import running, subject_of
from resanalysis.errors import ResanalysisError

if TYPE_CHECKING:
    import pandas as pd


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
    data: Data,
    source: Source,
    output: Output,
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

    from resanalysis import figures
    from resanalysis.experiments.prune import prune as experiment
    from resanalysis.experiments.prune_choice import choose
    from resanalysis.experiments.prune_order import DEFAULT, ORDERS
    from resanalysis.routes.shortening import check_whole
    from resanalysis.run.folder import Run
    from resanalysis.run.measured import measure
    from resanalysis.run.shortened_files import write_shortened

    if chosen is not None and (not chosen or set(chosen) - set(ORDERS)):
        raise typer.BadParameter(f"--orders {orders!r}: choose from {', '.join(ORDERS)}")
    if remove is not None and max_drop is not None:
        raise typer.BadParameter("--remove and --max-drop both say how many units go: give one")
    shorten = remove is not None or max_drop is not None
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
    }
    reason = ""
    with Run(output.out, "prune", fresh=output.fresh) as run:
        subject = subject_of(model, data, source, output)
        if shorten:
            check_whole(subject.network)

        def measured(store: Any) -> pd.DataFrame:
            nonlocal reason
            frame = experiment(
                subject.network,
                subject.examples(),
                **options,
                seed=output.seed,
                store=store,
                **running(subject, source, output),
            )
            if shorten:
                choice = choose(frame, order=follow, remove=remove, max_drop=max_drop)
                reason = choice.reason
                if choice.units:
                    gone = " ".join(str(unit) for unit in choice.units)
                    tell(output, f"removed {gone}: costs {100 * choice.drop:+.2f} points")
                    run.files += write_shortened(
                        output.out,
                        subject.network,
                        choice.units,
                        model=subject.module,
                        example=subject.example,
                        facts={"order": choice.order, "drop": choice.drop},
                    )
            return frame

        table = measure(
            run,
            measured,
            figures.prune,
            options={**options, "remove": remove, "max_drop": max_drop, "follow": follow},
            seed=output.seed,
            subject=subject,
        )
    show(output, {"prune": table}, f"prune of {model}", run.files)
    if reason:
        raise ResanalysisError(reason)
