"""The command line. Each command is one file beside this one: parse, call, print.

The experiments' commands are found by the stem rule from the tuple of experiments; after the pattern of
``cli/reorder.py``, a file holds a function of its own name, ``EXAMPLES`` for its help page, and in
``WITHOUT`` the common options that mean nothing to it.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from types import ModuleType
from typing import Annotated, Any

import typer

from resanalysis.cli import check as check_
from resanalysis.cli import pack as pack_
from resanalysis.cli import report as report_
from resanalysis.cli import study as study_
from resanalysis.cli import train as train_
from resanalysis.cli.command import INTERRUPTED, add_command, without_of
from resanalysis.experiments import EXPERIMENTS

app = typer.Typer(
    name="resanalysis",
    help="Take a trained residual network apart: which of its units and paths does it need?",
    epilog="[cyan]resanalysis COMMAND --help[/cyan] says what a command answers, with examples.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

EXPERIMENT, WHOLE = "Experiments", "Before and after"


def _register(module: ModuleType, panel: str) -> None:
    """The command of a file: the function that is called as the file is, with its examples."""
    name = module.__name__.rpartition(".")[2]
    add_command(
        app,
        getattr(module, name),
        panel=panel,
        example=module.EXAMPLES.strip(),
        without=without_of(module),
    )


for _experiment in EXPERIMENTS:
    if not _experiment.command:  # the others are options of a command that is here
        _register(import_module(f"resanalysis.cli.{_experiment.stem}"), EXPERIMENT)
for _module in (train_, pack_, report_, check_):
    _register(_module, WHOLE)

studies = typer.Typer(
    help="The papers, run on the networks that ship or on your own files.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.add_typer(studies, name="study", rich_help_panel=WHOLE)
add_command(studies, study_.list_, panel="Commands", example="resanalysis study list")
add_command(
    studies,
    study_.run,
    panel="Commands",
    example="resanalysis study run veit2016 --jobs 2\n"
    "resanalysis study run he2015 --scale full --only response --set resnet20=r20.th "
    "--set resnet56=r56.th --set data=test.npz",
    without=study_.WITHOUT,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"resanalysis {version('resanalysis')}")
        raise typer.Exit


@app.callback()
def _main(  # pyright: ignore[reportUnusedFunction]
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


_UsageError: Any = typer.BadParameter.__mro__[1]
"""Of click, or of the copy of it in newer versions of typer."""


def main() -> None:
    """The script: exit code 0, 1 after an error, 2 after a usage error, 130 when stopped."""
    # What imports of this size make, stays: to look for garbage among it every 700 objects, as Python does
    # unless told otherwise, takes a tenth of a short command.
    gc.set_threshold(10_000, 10, 10)
    try:
        code: Any = app(standalone_mode=False)
    except _UsageError as error:
        if "NoArgs" in type(error).__name__:  # its text is the help page
            error.show()
            sys.exit(2)
        where = "resanalysis" if error.ctx is None else error.ctx.command_path
        print(
            f"error: {error.format_message().rstrip('.')} ({where} -h says more)", file=sys.stderr
        )
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        print("stopped", file=sys.stderr)
        sys.exit(INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)
