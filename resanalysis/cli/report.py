"""``resanalysis report``: every experiment on one model or several, on one page."""

from __future__ import annotations

import shlex
from dataclasses import fields, replace
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resanalysis.cli.command import without_of
from resanalysis.cli.console import show, tell
from resanalysis.cli.options import MOST_DRAWS, Data, Models, Output, Source
from resanalysis.cli.said import said
from resanalysis.cli.subject import reading, running, say_found, subject_of, whole_numbers
from resanalysis.experiments import EXPERIMENTS

if TYPE_CHECKING:
    from resanalysis.run.report.protocol import Asked
    from resanalysis.run.subject import Subject

EXAMPLES = """
resanalysis report model.pt
resanalysis report model.pt --quick
resanalysis report plain=plain56.pt residual=resnet56.pt --data test.npz --out report
"""


def report(
    models: Models,
    source: Source,
    output: Output,
    data: Data = None,
    remove: Annotated[
        str, typer.Option(metavar="K", help="Units to delete at random: 5, 1..20 or 1,2,5.")
    ] = "1..20",
    draws: Annotated[
        int | None,
        typer.Option(
            min=1, max=MOST_DRAWS, metavar="N", help="Random draws for each --remove; else 30."
        ),
    ] = None,
    orders: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Orders for reorder; else 300.")
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="200 examples unless --limit says otherwise, fewer draws, and what is cheap first.",
        ),
    ] = False,
) -> None:
    """Run every experiment that applies, and put what was found on one page.

    Writes the files of each experiment, report.html, which needs no other file, and paper/: figures as PDF,
    tables as LaTeX and CSV, captions and references. The page is written again after each experiment.
    Several models are laid side by side and paired on the examples they share. Interrupted, it goes on where
    it stopped.
    """
    removed = whole_numbers(remove, "--remove")

    from resanalysis.run.report.writing import QUICK_EXAMPLES, Wanted, write_report

    if quick:
        source = replace(source, limit=source.limit or QUICK_EXAMPLES)
    subjects = _subjects(models, data, source, output)
    asked = {label: _asked(one.model, data, source, output) for label, one in subjects.items()}
    options: dict[str, dict[str, Any]] = {"lesion_many": {"removed": removed}}
    if draws is not None:
        options["lesion_many"]["draws"] = draws
    if orders is not None:
        options["reorder"] = {"draws": orders}
    given = {"--data": data, "--remove": remove, "--draws": draws, "--orders": orders}
    words = [*(("--quick",) if quick else ()), *said(source), *said(output, _NOT_SEED)]
    for flag, value in given.items():
        words += [] if value is None else [flag, str(value)]
    wanted = Wanted(
        out=output.out,
        options=options,
        quick=quick,
        seed=output.seed,
        fresh=output.fresh,
        command=shlex.join(["resanalysis", "report", *models, *words, "--out", str(output.out)]),
        running=running(next(iter(subjects.values())), source, output),
        tell=lambda text: tell(output, text),
    )
    tables, files = write_report(subjects, asked, wanted)
    show(output, tables, ", ".join(models), [files[0], output.out / "paper"])


def _subjects(
    models: list[str], data: str | None, source: Source, output: Output
) -> dict[str, Subject]:
    """Each model under its label; one alone as it was named."""
    if len(models) == 1:
        return {models[0]: subject_of(models[0], data, source, output)}

    from resanalysis.run.several import each_subject

    subjects = each_subject(models, data, reading(source, output))
    for label, subject in subjects.items():
        say_found(output, label, subject)
    return subjects


def _asked(model: str, data: str | None, source: Source, output: Output) -> Asked:
    """What the command of each experiment has to say to do the same."""
    from resanalysis.run.report.protocol import Asked

    words: dict[str, tuple[str, ...]] = {}
    named = () if data is None else ("--data", data)
    for command in {one.command or one.stem for one in EXPERIMENTS}:
        module = import_module(f"resanalysis.cli.{command}")
        without = without_of(module)
        seed = () if "seed" in without else said(output, _NOT_SEED)
        words[command] = (*named, *said(source, without), *seed)
    return Asked(model, words)


_NOT_SEED = [field.name for field in fields(Output) if field.name != "seed"]
