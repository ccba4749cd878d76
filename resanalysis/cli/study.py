"""``resanalysis study``: the papers in studies/, run on a user's own files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from resanalysis.cli.console import tell
from resanalysis.cli.options import Output

Folder = Annotated[
    Path,
    typer.Option("--studies", metavar="DIR", help="The folder that holds the studies."),
]


def list_(studies: Folder = Path("studies")) -> None:
    """The papers there are studies of, and the files that each needs."""
    from rich.console import Console
    from rich.markup import escape

    from resanalysis.run.study import StudyError
    from resanalysis.run.study import studies as studies_in

    found = studies_in(studies)
    if not found:
        raise StudyError(f"{studies} holds no studies; name the folder that does with --studies")
    console = Console(highlight=False, soft_wrap=True)
    for study in found:
        console.print(f"[bold]{study.folder.name}[/bold]  {escape(study.title)} ({study.venue})")
        console.print(f"  figures {', '.join(study.figures)}; steps: {_steps(study.steps)}")
        for name, default in study.needs.items():
            console.print(f"  --set {name}={escape(default)}", markup=False)


def _steps(steps: tuple[object, ...]) -> str:
    return ", ".join(str(getattr(step, "name", "")) for step in steps)


def run(
    name: Annotated[str, typer.Argument(metavar="STUDY", help="Its folder's name, or a path.")],
    output: Output,
    given: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=FILE", help="A file the study needs; repeat for more."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="STEP", help="Run this step; repeat.")
    ] = None,
    studies: Folder = Path("studies"),
    trust_study: Annotated[
        bool,
        typer.Option(
            "--trust-study",
            help="Run also steps that run code of others: python:, --metric, --trust-pickle.",
        ),
    ] = False,
) -> None:
    """Run a paper's commands on your files, and compare with the numbers the study recorded.

    Each step writes to its own folder in --out; comparison.csv has recorded and found numbers. Run
    again after an interruption, it goes on.
    """
    import pandas as pd

    from resanalysis.cli import app
    from resanalysis.run.folder import Run
    from resanalysis.run.study import StudyError, comparison, read_study
    from resanalysis.run.study_trust import require_trust

    study = read_study(Path(name) if "/" in name else studies / name)
    theirs = _given(given or [], set(study.needs))
    values = {**study.needs, **theirs}
    there = [step.name for step in study.steps]
    unknown = sorted(set(only or []) - set(there))
    if unknown:
        raise StudyError(f"{name} has no step {unknown[0]}; there are {', '.join(there)}")
    steps = [step for step in study.steps if not only or step.name in only]
    lines = [step.words(values) for step in steps]
    own = {**study.needs, **dict.fromkeys(theirs, "")}
    require_trust({step.name: step.words(own) for step in steps}, trust_study)
    found: list[pd.DataFrame] = []
    for step, words in zip(steps, lines, strict=True):
        out = output.out / step.name
        tell(output, f"{step.name}: resanalysis {' '.join(words)}")
        flags = ["--quiet"] if output.quiet or output.as_json else []
        flags += ["--fresh"] if output.fresh else []
        code = app([*words, "--out", str(out), *flags], standalone_mode=False)
        if code:
            raise typer.Exit(int(code))
        found.append(comparison(step, out))
    with Run(output.out, "study", fresh=output.fresh) as folder:
        table = pd.concat(found, ignore_index=True)
        folder.keep_table("comparison", table)
        folder.finish(options={"study": study.folder.name, "steps": [s.name for s in steps]})
    if output.as_json:
        print(table.to_json(orient="records"))
    for row in table.to_dict("records"):
        mark = "same" if row["same"] else "DIFFERENT"
        tell(
            output,
            f"{row['step']}: {row['quantity']} {row['found']} (recorded {row['recorded']}): {mark}",
        )


def _given(texts: list[str], needs: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or key not in needs:
            raise typer.BadParameter(
                f"--set {text!r}: write NAME=FILE, NAME one of {', '.join(sorted(needs))}"
            )
        found[key] = value
    return found
