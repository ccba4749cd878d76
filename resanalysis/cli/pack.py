"""``resanalysis pack``: a model and its test data in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from resanalysis.cli.console import tell
from resanalysis.cli.options import Data, Model, Output, Source
from resanalysis.cli.subject import reading

EXAMPLES = """
resanalysis pack resnet56.th --data test.npz --normalize imagenet --out model.pt
resanalysis pack torchvision:resnet50 --data folder:val --limit 500 --classes classes.txt --out model.pt
"""
WITHOUT = (
    *("submodule", "group", "plain", "batch_size", "arithmetic"),
    *("out", "fresh", "as_json"),
)


def pack(
    model: Model,
    source: Source,
    output: Output,
    file: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FILE", help="The file to write, such as model.pt."),
    ],
    data: Data = None,
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Names of the outputs in order, separated by commas, or a text file with one a line.",
        ),
    ] = None,
    sample: Annotated[
        bool,
        typer.Option(
            help="Put examples into the file: --limit of them, or as many as take no more than the weights."
        ),
    ] = True,
) -> None:
    """A model, its preprocessing, class names and a sample of its test data in one file.

    Every command takes the file as it is, on another machine too: resanalysis lesion model.pt. Nothing in it
    is code. The error on the sample is measured and recorded, and the file is read again and compared with the
    model before it takes its name.
    """
    names = None if classes is None else class_names(classes)

    from resanalysis.run.packed import pack as packed_of
    from resanalysis.statistics.intervals import wilson

    packed = packed_of(
        model, data, file, reading(source, output), classes=names, with_sample=sample
    )
    carried = f"{packed.examples} examples" if packed.examples else "no examples"
    chosen = f" ({packed.chosen})" if packed.chosen and packed.examples else ""
    tell(
        output,
        f"{model}: {packed.architecture}, {packed.parameters:,} parameters; {carried} of "
        f"{packed.tested.source}{chosen}",
    )
    if packed.score:
        n, error = int(packed.score["n"]), packed.score["error"]
        low, high = wilson(error * n, n)
        tell(
            output,
            f"error {100 * error:.2f} % (95 %: {100 * float(low):.2f} to {100 * float(high):.2f}) on {n} "
            "examples, recorded in the file",
        )
    if not output.quiet:
        print(f"written: {packed.path}")


def class_names(text: str) -> list[str]:
    """The names in a list with commas, or in a file with one a line.

    Raises
    ------
    typer.BadParameter : if there are none, or the file cannot be read.
    """
    path = Path(text)
    try:
        # Names of ImageNet's classes have commas in them.
        found = path.read_text(encoding="utf-8").splitlines() if path.is_file() else text.split(",")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"--classes {text}: {error}") from None
    names = [name.strip() for name in found if name.strip()]
    if not names:
        raise typer.BadParameter(f"--classes {text!r} names no class")
    return names
