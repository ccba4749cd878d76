"""Options of the commands that alter a network and measure what it then answers."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

Recalibrate = Annotated[
    int | None,
    typer.Option(
        min=2,
        metavar="N",
        help="Set N examples aside, estimate batch-norm statistics on them for every altered network, and "
        "measure it again, in further columns.",
        show_default=False,
    ),
]


CalibrateOn = Annotated[
    str | None,
    typer.Option(
        metavar="DATA",
        help="Take the examples of --recalibrate and of means from these data (their training part, if "
        "they have one), and measure all of --data.",
        show_default=False,
    ),
]


class Replace(StrEnum):
    """What stands in for a deleted branch."""

    zero = "zero"
    mean = "mean"
    element_mean = "element-mean"
    resample = "resample"


ReplaceBy = Annotated[
    Replace,
    typer.Option(
        "--replace",
        help="What stands in for a deleted branch: nothing, the mean of each channel or element of its "
        "output, or its output on another example.",
    ),
]


PerImage = Annotated[
    bool,
    typer.Option(
        "--per-image",
        help="Also NAME_images.csv, a row per route and example: label, prediction, loss, KL, entropy.",
    ),
]
