"""``resanalysis report``: every experiment on one model, on one page."""

from __future__ import annotations

from typing import Annotated

import typer

from resanalysis.cli.console import show
from resanalysis.cli.options import Data, Model, Output, Source
from resanalysis.cli.subject import running, subject_of, whole_numbers


def report(
    model: Model,
    data: Data,
    source: Source,
    output: Output,
    remove: Annotated[
        str, typer.Option(metavar="K", help="Units to delete at random: 5, 1..20 or 1,2,5.")
    ] = "1..20",
    draws: Annotated[
        int, typer.Option(min=1, metavar="N", help="Random draws for each --remove.")
    ] = 30,
    orders: Annotated[int, typer.Option(min=1, metavar="N", help="Orders for reorder.")] = 300,
) -> None:
    """Run the experiments on one model and put tables, figures and captions on one page.

    Writes the files of inspect, lesion, lesion --remove, reorder, paths, gradients (on 32 images),
    response and stream, and report.html, which needs no other file. Interrupted, it goes on where it
    stopped.
    """
    removed = whole_numbers(remove, "--remove")

    from resanalysis.run.report import measure_all, write_page

    subject = subject_of(model, data, source, output)
    tables = measure_all(
        subject,
        output.out,
        remove=removed,
        draws=draws,
        orders=orders,
        seed=output.seed,
        fresh=output.fresh,
        **running(subject, source, output),
    )
    page = write_page(output.out, title=model)
    show(output, tables, model, [page])
