"""``resanalysis train``: a network to analyse."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resanalysis.cli.console import show, tell
from resanalysis.cli.options import Output, TrainingData

if TYPE_CHECKING:
    from resanalysis.training.recipe import Recipe

EXAMPLES = """
resanalysis train --arch resnet56 --data fashion-mnist:data --out trained
resanalysis train --arch plain56 --data cifar10:data --recipe he2015 --beside trained --out plain
"""


class Shortcut(StrEnum):
    """What carries the stream past a branch (He et al. 2015, §3.3)."""

    A = "A"
    B = "B"
    C = "C"


class Precision(StrEnum):
    """Arithmetic of the training."""

    float32 = "float32"
    bfloat16 = "bfloat16"


@dataclass(frozen=True)
class NetworkOptions:
    """Which network."""

    arch: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="resnet56 (where left out), resnet110v2, plain56, highway32, stochastic-depth110, "
            "cifar_vgg16…",
        ),
    ] = None
    start_from: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Train on from the weights of a checkpoint of train, which says the network: instead of "
            "--arch.",
        ),
    ] = None
    shortcut: Annotated[
        Shortcut | None,
        typer.Option(help="A: zeros; B: a projection where the shape changes; C: in every unit."),
    ] = None
    width: Annotated[
        int | None, typer.Option(min=1, metavar="W", help="Channels of the first stage.")
    ] = None
    gate_bias: Annotated[
        float | None,
        typer.Option(metavar="B", help="Where the gates of a highway network start, below 0."),
    ] = None

    def given(self) -> dict[str, object]:
        """The options of the architecture that were named.

        Raises
        ------
        typer.BadParameter : if a checkpoint already says them.
        """
        shortcut = None if self.shortcut is None else self.shortcut.value
        named: dict[str, object] = {
            "shortcut": shortcut,
            "width": self.width,
            "gate_bias": self.gate_bias,
        }
        given = {name: value for name, value in named.items() if value is not None}
        if self.start_from is not None and (given or self.arch is not None):
            said = next(iter(given), "arch").replace("_", "-")
            raise typer.BadParameter(
                f"--start-from {self.start_from} says which network it is: leave --{said} out"
            )
        return given


@dataclass(frozen=True)
class RecipeOptions:
    """How it is trained."""

    recipe: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="he2015, he2015-warmup, huang2016, transformer, short or quick."
        ),
    ] = "short"
    epochs: Annotated[
        float | None, typer.Option(min=0.01, metavar="E", help="Instead of the recipe's own.")
    ] = None
    rate: Annotated[
        float | None,
        typer.Option(
            min=1e-8, metavar="R", help="Highest learning rate, instead of the recipe's own."
        ),
    ] = None
    half_size: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            metavar="F",
            help="First part of the time, 0 to 1, with images halved in height and width; instead of the "
            "recipe's own.",
        ),
    ] = None
    precision: Annotated[
        Precision | None,
        typer.Option(help="Instead of the recipe's own. bfloat16 is slow where a CPU lacks it."),
    ] = None
    stochastic_depth: Annotated[
        str | None,
        typer.Option(
            metavar="RULE", help="Leave branches out in training: linear:0.5, uniform:0.8."
        ),
    ] = None
    train_units: Annotated[
        int | None,
        typer.Option(min=1, metavar="M", help="Exactly M units run in each batch, drawn anew."),
    ] = None

    def chosen(self) -> Recipe:
        """The recipe, changed as asked.

        Raises
        ------
        typer.BadParameter : if there is none of that name, or two options say which units run.
        """
        from resanalysis.training.recipe import RECIPES

        if self.recipe not in RECIPES:
            names = ", ".join(sorted(RECIPES))
            raise typer.BadParameter(f"--recipe {self.recipe!r} is none of {names}")
        if self.train_units is not None and self.stochastic_depth is not None:
            raise typer.BadParameter(
                "--train-units and --stochastic-depth both say which units run"
            )
        recipe = replace(RECIPES[self.recipe], train_units=self.train_units)
        if self.epochs is not None:
            recipe = replace(recipe, epochs=self.epochs, iterations=None)
        if self.rate is not None:
            recipe = replace(recipe, learning_rate=self.rate)
        if self.half_size is not None:
            recipe = replace(recipe, half_size=self.half_size)
        if self.precision is not None:
            recipe = replace(recipe, precision=self.precision.value)
        return recipe


def train(
    data: TrainingData,
    network: NetworkOptions,
    how: RecipeOptions,
    output: Output,
    test_data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Test part, where --data has none of its own."),
    ] = None,
    gradient_norms: Annotated[
        bool, typer.Option("--gradient-norms", help="Each layer's gradient, by epoch.")
    ] = False,
    beside: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Another training's --out, drawn in the same figure."),
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
    """Train one of the papers' networks on small images.

    An interrupted run goes on where it was last saved, and on a CPU it ends with the same weights to
    the bit. Writes ARCH.pt, a checkpoint that records its architecture, preprocessing, classes, test data,
    recipe and history: every command takes it as it is (resanalysis lesion ARCH.pt); history.csv, .pdf and
    .png; with --gradient-norms, gradient_norms.csv, .pdf and .png.
    """
    options, recipe = network.given(), how.chosen()

    from resanalysis.run.folder import Run
    from resanalysis.run.trained import Plan, train_network

    plan = Plan(
        arch=network.arch or "resnet56",
        data=data,
        recipe=recipe,
        test_data=test_data,
        options=options,
        start_from=network.start_from,
        stochastic_depth=how.stochastic_depth,
        gradient_norms=gradient_norms,
        sample=sample,
        beside=tuple(beside or ()),
        seed=output.seed,
        device=device,
    )
    length = (
        f"{recipe.epochs:g} epochs" if recipe.iterations is None else f"{recipe.iterations} batches"
    )
    with Run(output.out, "train", fresh=output.fresh) as run:
        subject = plan.start_from or plan.arch
        tell(output, f"training {subject} on {data}: recipe {how.recipe}, {length}")
        history, _ = train_network(run, plan, show_progress=not output.quiet)
    show(output, {"history": history}, f"training of {subject}", run.files)
