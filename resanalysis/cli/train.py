"""``resanalysis train``: a network to analyse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from resanalysis.cli.console import show, tell
from resanalysis.cli.options import Data, Output


def train(
    data: Data,
    output: Output,
    arch: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="resnet56, resnet110v2, plain56, highway32, stochastic-depth110, cifar_vgg16…",
        ),
    ] = "resnet56",
    recipe: Annotated[
        str, typer.Option(metavar="NAME", help="he2015, he2015-warmup, huang2016, short or quick.")
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
    gate_bias: Annotated[
        float | None,
        typer.Option(metavar="B", help="Where the gates of a highway network start, below 0."),
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
    precision: Annotated[
        str | None,
        typer.Option(metavar="P", help="float32 or bfloat16, instead of the recipe's own."),
    ] = None,
    gradient_norms: Annotated[
        bool, typer.Option("--gradient-norms", help="Each layer's gradient, by epoch.")
    ] = False,
    beside: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Another training's --out, drawn in the same figure."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="D", help="cpu, cuda…; left out, a GPU if there is one.")
    ] = None,
) -> None:
    """Train one of the papers' networks on small images.

    An interrupted run goes on where it was last saved, and on a CPU it ends with the same weights to
    the bit. Writes ARCH.pt, a checkpoint that records its architecture, preprocessing, classes, recipe
    and history; history.csv, .pdf and .png; with --gradient-norms, gradient_norms.csv, .pdf and .png.
    """
    from resanalysis.training.recipe import RECIPES

    if recipe not in RECIPES:
        raise typer.BadParameter(f"--recipe {recipe!r} is none of {', '.join(sorted(RECIPES))}")
    chosen = RECIPES[recipe]
    if epochs is not None:
        chosen = replace(chosen, epochs=epochs, iterations=None)
    if precision is not None:
        if precision not in ("float32", "bfloat16"):
            raise typer.BadParameter(f"--precision {precision!r} is neither float32 nor bfloat16")
        chosen = replace(chosen, precision=precision)
    if train_units is not None and stochastic_depth is not None:
        raise typer.BadParameter("--train-units and --stochastic-depth both say which units run")
    chosen = replace(chosen, train_units=train_units)
    given = {"shortcut": shortcut, "width": width, "gate_bias": gate_bias}

    from resanalysis.results import Run
    from resanalysis.train import train_network

    length = f"{chosen.epochs:g} epochs"
    if chosen.iterations is not None:
        length = f"{chosen.iterations} iterations"
    with Run(output.out, "train", fresh=output.fresh) as run:
        tell(output, f"training {arch} on {data}: recipe {recipe}, {length}")
        history, _ = train_network(
            run,
            arch,
            data,
            test_data=test_data,
            recipe=chosen,
            options={name: value for name, value in given.items() if value is not None},
            stochastic_depth=stochastic_depth,
            with_gradient_norms=gradient_norms,
            beside=beside or (),
            seed=output.seed,
            device=device,
            show_progress=not output.quiet,
        )
    show(output, {"history": history}, f"training of {arch}", run.files)
