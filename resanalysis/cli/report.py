"""``resanalysis report``: every experiment on one model, on one page."""

from __future__ import annotations

from typing import Annotated

import typer

from resanalysis.cli.console import show
from resanalysis.cli.options import Data, Model, Output, Source
from resanalysis.cli.subject import running, subject_of, whole_numbers

EXAMPLES = """
resanalysis report model.pt --data test.npz --out report
"""


def report(
    model: Model,
    source: Source,
    output: Output,
    data: Data = None,
    remove: Annotated[
        str, typer.Option(metavar="K", help="Units to delete at random: 5, 1..20 or 1,2,5.")
    ] = "1..20",
    draws: Annotated[
        int, typer.Option(min=1, metavar="N", help="Random draws for each --remove.")
    ] = 30,
    orders: Annotated[int, typer.Option(min=1, metavar="N", help="Orders for reorder.")] = 300,
) -> None:
    """Run every experiment on one model and put tables, figures and captions on one page.

    Writes the files of each experiment that applies (gradients on 32 images), and report.html, which needs no
    other file. Interrupted, it goes on where it stopped.
    """
    removed = whole_numbers(remove, "--remove")

    from resanalysis.run.report import measure_all, write_page

    subject = subject_of(model, data, source, output)
    tables = measure_all(
        subject,
        output.out,
        options={
            "lesion_many": {"removed": removed, "draws": draws},
            "reorder": {"draws": orders},
        },
        seed=output.seed,
        fresh=output.fresh,
        **running(subject, source, output),
    )
    page = write_page(output.out, title=model)
    show(output, tables, model, [page])
