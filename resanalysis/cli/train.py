"""``resanalysis train``: a network to analyse."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from resanalysis.cli.console import show, tell
from resanalysis.cli.options import Output, TrainingData

EXAMPLES = """
resanalysis train --arch resnet56 --data fashion-mnist:data --out trained
"""


def train(
    data: TrainingData,
    output: Output,
    arch: Annotated[
        str, typer.Option(metavar="NAME", help="resnet56, resnet110v2, …: any depth 6n + 2.")
    ] = "resnet56",
    recipe: Annotated[
        str, typer.Option(metavar="NAME", help="he2015, he2015-warmup or short.")
    ] = "short",
    test_data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Test part, where --data has none of its own."),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(min=0.01, metavar="E", help="Instead of the recipe's own.")
    ] = None,
    shortcut: Annotated[
        str | None, typer.Option(metavar="A|B|C", help="Shortcuts of a residual network.")
    ] = None,
    width: Annotated[
        int | None, typer.Option(min=1, metavar="W", help="Channels of the first stage.")
    ] = None,
    stochastic_depth: Annotated[
        str | None,
        typer.Option(
            metavar="RULE", help="Leave branches out in training: linear:0.5, uniform:0.8."
        ),
    ] = None,
    train_units: Annotated[
        int | None,
        typer.Option(min=1, metavar="M", help="Exactly M units run in each batch, drawn anew."),
    ] = None,
    sample: Annotated[
        bool,
        typer.Option(
            help="Put a sample of the test part into the checkpoint, at most 2,000 examples or 1 MB, so that "
            "it can be measured without --data."
        ),
    ] = True,
    device: Annotated[
        str | None, typer.Option(metavar="D", help="cpu, cuda…; left out, a GPU if there is one.")
    ] = None,
) -> None:
    """Train a CIFAR residual network of He et al. on small images.

    An interrupted run goes on after its last whole epoch. Writes ARCH.pt, a checkpoint that records
    its architecture, preprocessing, classes, test data and history, and history.csv. Every command
    takes the checkpoint as it is: resanalysis lesion ARCH.pt.
    """
    from resanalysis.training.recipe import RECIPES

    if recipe not in RECIPES:
        raise typer.BadParameter(f"--recipe {recipe!r} is none of {', '.join(sorted(RECIPES))}")
    chosen = RECIPES[recipe]
    if epochs is not None:
        chosen = replace(chosen, epochs=epochs, iterations=None)
    chosen = replace(chosen, train_units=train_units)
    given = {"shortcut": shortcut, "width": width}

    from resanalysis.run.folder import Run
    from resanalysis.run.trained import train_network

    with Run(output.out, "train", fresh=output.fresh) as run:
        tell(output, f"training {arch} on {data}: recipe {recipe}, {chosen.epochs:g} epochs")
        history, _ = train_network(
            run,
            arch,
            data,
            test_data=test_data,
            recipe=chosen,
            options={name: value for name, value in given.items() if value is not None},
            stochastic_depth=stochastic_depth,
            seed=output.seed,
            with_sample=sample,
            device=device,
            show_progress=not output.quiet,
        )
    show(output, {"history": history}, f"training of {arch}", run.files)
