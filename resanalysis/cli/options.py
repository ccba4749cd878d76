"""The options that commands share, each written once.

A command takes ``source: Source`` and ``output: Output``; the decorator of ``command.py`` turns the
fields of these dataclasses into options of the command line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODEL_HELP = (
    "Checkpoint (.pt .pth .th .ckpt .safetensors .pt2 .keras .h5), bundled:NAME, torchvision:NAME, "
    "timm:NAME, keras:NAME, hf:DIR, hf:OWNER/NAME[@REVISION] with --download, or python:package.module:factory."
)
DATA_HELP = (
    "FILE.npz (images, labels), bundled:NAME, cifar10:DIR, cifar100:DIR, fashion-mnist:DIR, "
    "folder:DIR (one folder per class), coco:DIR (objects to be found), masks:DIR (classes of pixels), "
    "text:FILE (cut by the model's own tokenizer) or tokens:FILE.npz."
)

MOST_DRAWS = 1_000_000  # more would be drawn for hours before the first of them is measured

Model = Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP, show_default=False)]
OptionalModel = Annotated[
    str | None, typer.Argument(metavar="MODEL", help=MODEL_HELP, show_default=False)
]
Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help=f"{MODEL_HELP} Several are laid side by side; LABEL=MODEL says what to call one.",
        show_default=False,
    ),
]
TrainingData = Annotated[
    str, typer.Option("--data", "-d", metavar="DATA", help=DATA_HELP, show_default=False)
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        "-d",
        metavar="DATA",
        help=f"{DATA_HELP} Left out, what the model brings: see pack.",
        show_default=False,
    ),
]
InputShape = Annotated[
    str | None,
    typer.Option(
        "--input-shape",
        metavar="C,H,W",
        help="Shape of one input, where there is no --data and the checkpoint does not record it.",
    ),
]

Metric = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="MODULE:NAME",
        help="A score of your own: a function of output, labels and intact output that returns a number per "
        "example; or a class with update and compute, of all examples. FILE.py:NAME works too.",
    ),
]


def numbers(text: str | None) -> str | None:
    """Check a list of numbers such as ``0.49,0.48,0.45`` as it is parsed; ``floats`` reads it."""
    try:
        floats(text or "")
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no list of numbers; write one per channel, such as 0.49,0.48,0.45"
        ) from None
    return text


def floats(text: str) -> tuple[float, ...]:
    """The numbers in a text such as ``0.49,0.48,0.45``."""
    return tuple(float(part) for part in text.replace(",", " ").split())


class Group(StrEnum):
    """How fine the units are."""

    unit = "unit"
    layer = "layer"


class Arithmetic(StrEnum):
    """In which precision routes are evaluated."""

    float32 = "float32"
    tf32 = "tf32"
    bf16 = "bf16"


@dataclass(frozen=True)
class Source:
    """How the model and the data are read."""

    arch: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What a state dict belongs to, such as resnet56; recognised where left out.",
            rich_help_panel="Model",
        ),
    ] = None
    state: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Which state dict of a file that holds several, such as ema.",
            rich_help_panel="Model",
        ),
    ] = None
    remap: Annotated[
        bool,
        typer.Option(
            "--remap",
            help="Take the tensors of a state dict in their order, where their names are not the model's.",
            rich_help_panel="Model",
        ),
    ] = False
    submodule: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Analyse this part inside the model, such as backbone.body; the rest runs as it is.",
            rich_help_panel="Model",
        ),
    ] = None
    group: Annotated[
        Group,
        typer.Option(
            help="layer: one unit for all units of a layer (a transformer's attention and MLP).",
            rich_help_panel="Model",
        ),
    ] = Group.unit
    plain: Annotated[
        bool,
        typer.Option(
            "--plain",
            help="Read a network without skips as a chain of layers.",
            rich_help_panel="Model",
        ),
    ] = False
    output_name: Annotated[
        str | None,
        typer.Option(
            "--output",
            metavar="NAME",
            help="Which of the things the model returns is scored, such as logits or last_hidden_state.",
            rich_help_panel="Model",
        ),
    ] = None
    trust_pickle: Annotated[
        bool,
        typer.Option(
            "--trust-pickle",
            help="Load a pickled module, or an archive that is refused. Runs its code: only if trusted.",
            rich_help_panel="Model",
        ),
    ] = False
    normalize: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="imagenet, cifar10, none or raw (0 to 255); where left out, what the checkpoint records.",
            rich_help_panel="Data",
        ),
    ] = None
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="R,G,B",
            help="Mean of each channel, images in 0 to 1.",
            callback=numbers,
            rich_help_panel="Data",
        ),
    ] = None
    std: Annotated[
        str | None,
        typer.Option(
            metavar="R,G,B",
            help="Standard deviation of each channel.",
            callback=numbers,
            rich_help_panel="Data",
        ),
    ] = None
    image_size: Annotated[
        int | None,
        typer.Option(
            "--image-size",
            "--img-size",
            min=1,
            metavar="N",
            help="Side of the images of folder:DIR; where left out, what the model was made for.",
            rich_help_panel="Data",
        ),
    ] = None
    crop: Annotated[
        float | None,
        typer.Option(
            "--crop",
            "--crop-pct",
            metavar="F",
            help="Share of the resized image that is kept, such as 0.875.",
            rich_help_panel="Data",
        ),
    ] = None
    interpolation: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="How images are resized: bilinear, bicubic, nearest, lanczos, box or hamming.",
            rich_help_panel="Data",
        ),
    ] = None
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Labels of the images of folder:DIR: classes by folder or by file, ReaL labels; or imagenet, "
            "for folders named after its synsets.",
            rich_help_panel="Data",
        ),
    ] = None
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Use a seeded subset of N examples, the classes in their proportions.",
            rich_help_panel="Data",
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Examples at a time; where left out, what the memory allows.",
            rich_help_panel="Running",
        ),
    ] = None
    image_seed: Annotated[
        int | None,
        typer.Option(
            metavar="S",
            help="Chooses the examples of --limit; where left out, --seed does.",
            rich_help_panel="Data",
        ),
    ] = None
    arithmetic: Annotated[
        Arithmetic,
        typer.Option(
            help="Arithmetic of routes: tf32 or bf16 are faster where the hardware has them, and "
            "change numbers a little.",
            rich_help_panel="Running",
        ),
    ] = Arithmetic.float32
    device: Annotated[
        str | None,
        typer.Option(
            metavar="D",
            help="cpu, cuda, cuda:1 or mps; where left out, a GPU if there is one.",
            rich_help_panel="Running",
        ),
    ] = None
    download: Annotated[
        bool,
        typer.Option(
            "--download",
            help="Fetch hf:OWNER/NAME[@REVISION] from the Hugging Face hub: safetensors, configuration and "
            "tokenizer, no code.",
            rich_help_panel="Model",
        ),
    ] = False
    stream_weights: Annotated[
        bool,
        typer.Option(
            "--stream-weights",
            help="Leave the weights of hf:DIR in their files and read them a unit at a time, as it is by "
            "itself where the memory cannot hold them.",
            rich_help_panel="Running",
        ),
    ] = False


@dataclass(frozen=True)
class Comparing:
    """What several models are to each other."""

    pool: Annotated[
        bool,
        typer.Option(
            "--pool",
            help="The models are training seeds of one network: also their mean, with intervals between seeds.",
            rich_help_panel="Model",
        ),
    ] = False


@dataclass(frozen=True)
class Drawing:
    """How the figure is drawn."""

    width: Annotated[
        float,
        typer.Option(
            min=2.0,
            max=14.0,
            metavar="IN",
            help="Width of the figure in inches: 2.7 for half a column, 5.5 or 7 for a full one.",
            rich_help_panel="Results",
        ),
    ] = 5.5

    panel: Annotated[
        str | None,
        typer.Option(
            metavar="P",
            help="Also write one panel of the figure alone, such as c, to NAME_c.pdf and .png; or all of them.",
            rich_help_panel="Results",
        ),
    ] = None

    def figures(self, stem: str, draw: Callable[..., Figure]) -> dict[str, Figure]:
        """The figure and the panels asked for, by the stem of their files.

        Parameters
        ----------
        draw : the figure's function of ``width`` and ``panel``.
        """
        from resanalysis.figures.style import letters

        whole = draw(width=self.width)
        wanted = [] if self.panel is None else [self.panel]
        if self.panel == "all":
            wanted = letters(whole)
        panels = {f"{stem}_{panel}": draw(width=self.width, panel=panel) for panel in wanted}
        return {stem: whole, **panels}


@dataclass(frozen=True)
class Output:
    """Where results go and what is said."""

    seed: Annotated[
        int,
        typer.Option(metavar="S", help="Decides every random choice.", rich_help_panel="Running"),
    ] = 0
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Folder for tables, figures and manifest.json; commands may share one.",
            rich_help_panel="Results",
        ),
    ] = Path("results")
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh",
            help="Start over instead of going on with an interrupted run.",
            rich_help_panel="Results",
        ),
    ] = False
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print the table's rows, and nothing else, as one JSON document.",
            rich_help_panel="Results",
        ),
    ] = False
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", help="No progress and no summary.", rich_help_panel="Results"
        ),
    ] = False
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel="Results"),
    ] = False
