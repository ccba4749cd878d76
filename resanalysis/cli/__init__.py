"""The command line. Each command is one file beside this one: parse, call, print.

Adding one: write ``cli/NAME.py`` with a function ``NAME`` after the pattern of ``cli/reorder.py``
and register it below, under the heading it shall have in ``resanalysis --help``.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from resanalysis.cli.command import INTERRUPTED, command
from resanalysis.cli.gradients import gradients
from resanalysis.cli.inspect import inspect
from resanalysis.cli.lesion import lesion
from resanalysis.cli.paths import paths
from resanalysis.cli.prune import prune
from resanalysis.cli.rearrange import rearrange
from resanalysis.cli.reorder import reorder
from resanalysis.cli.report import report
from resanalysis.cli.response import response
from resanalysis.cli.stream import stream
from resanalysis.cli.study import list_, run
from resanalysis.cli.train import train

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

VIEW, EXPERIMENT, WHOLE = "The view", "Experiments", "Before and after"

command(
    app,
    panel=VIEW,
    example="resanalysis inspect torchvision:resnet18 --input-shape 3,224,224\n"
    "resanalysis inspect resnet56.th --data test.npz",
)(inspect)
command(
    app,
    panel=EXPERIMENT,
    example="resanalysis lesion model.pt --data test.npz --normalize cifar10\n"
    "resanalysis lesion model.pt --data test.npz --remove 1..20 --draws 100",
)(lesion)
command(
    app,
    panel=EXPERIMENT,
    example="resanalysis reorder model.pt --data test.npz --draws 300",
)(reorder)
command(
    app,
    panel=EXPERIMENT,
    example="resanalysis rearrange model.pt --data test.npz\n"
    "resanalysis rearrange hf:gpt2 --data tokens:test.npz --group layer --kinds skip,shuffle,parallel",
)(rearrange)
command(
    app,
    panel=EXPERIMENT,
    example="resanalysis paths --depth 110\nresanalysis paths model.pt --data test.npz",
)(paths)
command(
    app,
    panel=EXPERIMENT,
    example="resanalysis gradients model.pt --data test.npz\n"
    "resanalysis gradients model.pt --data test.npz --limit 256 --method exact --units",
)(gradients)
command(
    app,
    panel=EXPERIMENT,
    example="resanalysis response model.pt --data test.npz\n"
    "resanalysis response plain=plain56.th residual=resnet56.th --data test.npz --normalize cifar10",
)(response)
command(
    app,
    panel=EXPERIMENT,
    example="resanalysis stream model.pt --data test.npz\n"
    "resanalysis stream hf:gpt2 --data tokens:test.npz --group layer --no-damage",
)(stream)
command(
    app,
    panel=EXPERIMENT,
    example="resanalysis prune model.pt --data test.npz\n"
    "resanalysis prune model.pt --data test.npz --orders greedy,influence,random --max-drop 0.01",
)(prune)
command(
    app,
    panel=WHOLE,
    example="resanalysis train --arch resnet56 --data fashion-mnist:data --out trained",
)(train)
command(
    app,
    panel=WHOLE,
    example="resanalysis report model.pt --data test.npz --out report",
)(report)

study = typer.Typer(
    help="The papers in studies/, run on your own files.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.add_typer(study, name="study", rich_help_panel=WHOLE)
command(study, panel="Commands", example="resanalysis study list")(list_)
command(
    study,
    panel="Commands",
    example="resanalysis study run he2015 --set resnet20=r20.th --set resnet56=r56.th "
    "--set data=test.npz --set published=fig7.csv",
)(run)


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


def main() -> None:
    """The script: exit code 0, 1 after an error, 2 after a usage error, 130 when stopped."""
    try:
        app()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(INTERRUPTED)
