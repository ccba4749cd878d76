"""The shared options of a command, as what the rest of the package takes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import typer

from resanalysis.cli.console import tell
from resanalysis.cli.options import Output, Source, floats

if TYPE_CHECKING:
    from resanalysis.run.reading import Reading
    from resanalysis.run.several import Several
    from resanalysis.run.subject import Subject

_MOST_NUMBERS = 100_000
"""Of one range: many more would be counted for minutes before anyone could say that they are too many."""


def reading(
    source: Source, output: Output, input_shape: str | None = None, *, needs_data: bool = True
) -> Reading:
    """How a model and its data are to be read."""
    from resanalysis.run.reading import Reading

    if source.download and output.quiet:  # the library reads this as it is imported
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    return Reading(
        arch=source.arch,
        state=source.state,
        remap=source.remap,
        trust_pickle=source.trust_pickle,
        submodule=source.submodule,
        group=source.group.value,
        plain=source.plain,
        output=source.output_name,
        normalize=source.normalize,
        mean=None if source.mean is None else floats(source.mean),
        std=None if source.std is None else floats(source.std),
        image_size=source.image_size,
        crop=source.crop,
        interpolation=source.interpolation,
        labels=source.labels,
        needs_data=needs_data,
        limit=source.limit,
        image_seed=output.seed if source.image_seed is None else source.image_seed,
        input_shape=None if input_shape is None else shape(input_shape),
        device=source.device,
        arithmetic=source.arithmetic.value,
        stream_weights=source.stream_weights,
        download=source.download,
    )


def subject_of(
    model: str,
    data: str | None,
    source: Source,
    output: Output,
    input_shape: str | None = None,
    *,
    needs_data: bool = True,
) -> Subject:
    """Load and unravel what the command line names, and say what was found.

    Parameters
    ----------
    needs_data : whether the command measures on examples: those the model brings, where none are named.
    """
    from resanalysis.run.subject import load_subject

    subject = load_subject(model, data, reading(source, output, input_shape, needs_data=needs_data))
    say_found(output, model, subject)
    return subject


def subjects_of(models: list[str], data: str | None, source: Source, output: Output) -> Several:
    """The same for several models, each under its label."""
    from resanalysis.run.several import load_several

    several = load_several(models, data, reading(source, output))
    for label, part in several.parts.items():
        say_found(output, label, part)
    return several


def say_found(output: Output, name: str, subject: Any) -> None:
    """What was found of a model and its examples, on standard error."""
    view = subject.view()
    examples = "" if subject.data is None else f"; {examples_of(subject)}"
    skips = view["skips"]
    plain = set(skips) == {"none"}
    what = (
        f"{view['units']} layers, one path"
        if plain
        else f"{view['units']} residual units in {view['stages']} stages"
    )
    tell(output, f"{name}: {what}{examples}")


def examples_of(subject: Any) -> str:
    """How many examples of what there are, and who named it where the command line did not."""
    text = f"{len(subject.data)} examples of {subject.source}"
    if subject.data.subset:
        text += f" ({subject.data.subset})"
    if subject.data.pixels is not None:
        text += f", {subject.data.pixels} ({subject.data.pixels.said_by})"
    return text if subject.data_from == "--data" else f"{text}, {subject.data_from}"


def running(subject: Any, source: Source, output: Output) -> dict[str, Any]:
    """How an experiment runs: the arguments that all of them take and that change no result."""
    return {
        "batch_size": source.batch_size,
        "device": subject.device,
        "show_progress": not output.quiet,
    }


def shape(text: str) -> tuple[int, ...]:
    """The numbers of ``3,32,32`` or ``3x32x32``."""
    try:
        sizes = tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise typer.BadParameter(f"--input-shape {text!r} is no shape; write it as 3,32,32")
    return sizes


def whole_numbers(text: str, option: str, least: int = 1) -> tuple[int, ...]:
    """The numbers of ``1..20``, ``1,2,5`` or ``1..4,8``, sorted, each once.

    Raises
    ------
    typer.BadParameter : for anything else, and for numbers below ``least``.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, dots, last = part.partition("..")
        try:
            low = int(first)
            high = int(last) if dots else low
        except ValueError:
            low, high = least, least - 1
        if low < least or high < low:
            raise typer.BadParameter(
                f"{option} {text!r}: {part.strip()!r} is no number or range of numbers from {least} on; "
                "write 1..20, or 1,2,5"
            )
        if high - low >= _MOST_NUMBERS:
            raise typer.BadParameter(
                f"{option} {text!r}: {part.strip()!r} are {high - low + 1} numbers, more than any network "
                "has units"
            )
        found.update(range(low, high + 1))
    return tuple(sorted(found))
