"""``resanalysis study``: the papers in studies/, run on what ships or on a user's own files."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resanalysis.cli.command import INTERRUPTED
from resanalysis.cli.console import tell
from resanalysis.cli.options import Output

if TYPE_CHECKING:
    from resanalysis.run.study import Study

WITHOUT = ("seed",)  # each step says its own

Folder = Annotated[
    Path | None,
    typer.Option(
        "--studies",
        metavar="DIR",
        help="A folder of studies of your own; where left out, those that come with the package.",
    ),
]


class Scale(StrEnum):
    """How much of a paper is repeated."""

    small = "small"
    full = "full"


def list_(studies: Folder = None) -> None:
    """The papers there are studies of, their steps, and what can be set for each scale."""
    from rich.console import Console
    from rich.markup import escape

    from resanalysis.run.study import StudyError, shipped_studies
    from resanalysis.run.study import studies as studies_in

    folder = studies or shipped_studies()
    found = studies_in(folder)
    if not found:
        raise StudyError(f"{folder} holds no studies; name the folder that does with --studies")
    console = Console(highlight=False, soft_wrap=True)
    for study in found:
        console.print(f"[bold]{study.folder.name}[/bold]  {escape(study.title)} ({study.venue})")
        console.print(f"  figures {', '.join(study.figures)}")
        for scale in Scale:
            steps = ", ".join(step.name for step in study.at(scale.value))
            console.print(f"  --scale {scale.value}: {steps or 'no steps'}")
            for name, default in study.values(scale.value).items():
                console.print(f"    --set {name}={escape(default)}", markup=False)


def run(
    name: Annotated[str, typer.Argument(metavar="STUDY", help="Its folder's name, or a path.")],
    output: Output,
    scale: Annotated[
        Scale,
        typer.Option(
            help="small: under half an hour on two cores, on what ships; full: the paper's own networks, "
            "on a GPU."
        ),
    ] = Scale.small,
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="A file or number of the study; repeat for more."
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="STEP", help="Run this step, and what it reads; repeat."),
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, metavar="N", help="Steps at once, each a process of its own.")
    ] = 1,
    studies: Folder = None,
    trust_study: Annotated[
        bool,
        typer.Option(
            "--trust-study",
            help="Run also steps that run code of others: python:, --metric, --trust-pickle.",
        ),
    ] = False,
) -> None:
    """Run a paper's commands, and compare with the numbers the study recorded.

    Each step writes to its own folder in --out; comparison.csv has recorded and found numbers. Run
    again after an interruption, it goes on, and repeats no step that is done. Exit code 1 if a step failed
    or a recorded number was not found again.
    """
    from resanalysis.run.study import StudyError, read_study, shipped_studies
    from resanalysis.run.study_steps import Running, run_tasks, tasks_of
    from resanalysis.run.study_trust import require_trust

    study = read_study(Path(name) if "/" in name else (studies or shipped_studies()) / name)
    own = study.values(scale.value)
    theirs = _given(given or [], set(own))
    tasks = tasks_of(study, scale.value, own | theirs, output.out, only or ())
    # What the user filled in is the user's: what the study has of its own is not trusted.
    unfilled = tasks_of(study, scale.value, own | dict.fromkeys(theirs, ""), output.out)
    require_trust({task.step.name: task.words for task in unfilled}, trust_study)
    quiet = output.quiet or output.as_json
    how = Running(jobs, quiet, output.fresh, lambda text: tell(output, text))
    try:
        failed = run_tasks(tasks, how)
    except KeyboardInterrupt:
        print(
            f"stopped; what the steps computed is kept in {output.out}: run the same command again to go on",
            file=sys.stderr,
        )
        raise typer.Exit(INTERRUPTED) from None
    ended = [task.step.name for task in tasks if task.step.name not in failed]
    different = _compared(study, scale.value, ended, output)
    if failed:
        told = "; ".join(f"step {step} failed: {why}" for step, why in failed.items())
        raise StudyError(f"{told}; what ended is kept, and run again it goes on")
    if different:
        raise StudyError(
            f"{different} recorded numbers were not found again: see {output.out / 'comparison.csv'}"
        )


def _compared(study: Study, scale: str, ended: list[str], output: Output) -> int:
    """Write and say what was found beside what was recorded; how many numbers differ."""
    import pandas as pd

    from resanalysis.run.cells import json_rows
    from resanalysis.run.folder import Run
    from resanalysis.run.study_numbers import comparison, equivalences

    steps = {step.name: step for step in study.at(scale)}
    found = [
        comparison(step, steps[step].expected.get(scale, {}), output.out / step) for step in ended
    ]
    # The manifest records which steps these are; a folder keeps the results of other ones.
    with Run(output.out, "study", fresh=output.fresh) as folder:
        table = pd.concat(found, ignore_index=True) if found else pd.DataFrame()
        folder.keep_table("comparison", table)
        equal = equivalences(study.equivalence, output.out)
        if len(equal):
            folder.keep_table("equivalence", equal)
        folder.finish(options={"study": study.folder.name, "scale": scale, "steps": ended})
    if output.as_json:
        import json

        print(json.dumps(json_rows(table), allow_nan=False))
    for row in table.to_dict("records"):
        tell(output, _said(row))
    for row in equal.to_dict("records"):
        tell(output, _said_equal(row))
    return sum(row["same"] is False for row in table.to_dict("records"))


def _said(row: dict[Any, Any]) -> str:
    verdict = "same" if row["same"] else "DIFFERENT"
    if row["same"] is None:
        verdict = "of another model or other data, not compared"
    return (
        f"{row['step']}: {row['quantity']} {row['found']} (recorded {row['recorded']}): {verdict}"
    )


def _said_equal(row: dict[Any, Any]) -> str:
    verdict = "equal" if row["equivalent"] else "not shown to be equal"
    return (
        f"{row['name']}: {row['quantity']} differs by {row['difference']:.4f} "
        f"({row['low']:.4f} to {row['high']:.4f}, {row['seeds_one']} and {row['seeds_other']} seeds): "
        f"{verdict} within {row['margin']:g} (p = {row['p_value']:.2g})"
    )


def _given(texts: list[str], needs: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or key not in needs:
            raise typer.BadParameter(
                f"--set {text!r}: write NAME=VALUE, NAME one of {', '.join(sorted(needs))}"
            )
        found[key] = value
    return found
