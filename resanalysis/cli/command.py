"""What turns a function into a command: shared options as dataclasses, errors as one line."""

from __future__ import annotations

import errno
import inspect
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager, suppress
from dataclasses import MISSING, fields, is_dataclass, replace
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO, get_type_hints

import typer

from resanalysis.cli.console import tell
from resanalysis.cli.options import Output
from resanalysis.errors import LeftOutError, ResanalysisError, out_of_memory, printable, text_of
from resanalysis.experiments import EXPERIMENTS
from resanalysis.progress import noticed_interrupts
from resanalysis.ranks import ranks, together

INTERRUPTED = 130


def without_of(module: ModuleType) -> tuple[str, ...]:
    """The common options that mean nothing to the command of a file: what it names, and how weights are read
    where its experiment needs all of them.
    """
    own: tuple[str, ...] = getattr(module, "WITHOUT", ())
    streams = {experiment.stem for experiment in EXPERIMENTS if experiment.streams}
    stem = module.__name__.rpartition(".")[2]
    return own if stem in streams else (*own, "stream_weights")


def add_command(
    app: typer.Typer,
    function: Callable[..., None],
    *,
    panel: str,
    example: str,
    without: Collection[str] = (),
) -> None:
    """Make a function a command of ``app``, under its own name.

    A parameter whose type is a dataclass (``Source``, ``Output``) becomes one option per field.

    Parameters
    ----------
    panel : heading it has in ``resanalysis --help``.
    example : command lines for the end of its help page, separated by newlines.
    without : fields of its dataclasses that mean nothing to it. They become no options, so that one who gives
        them is told, and keep their defaults.
    """
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}

    @wraps(function)
    def run(**values: Any) -> None:
        for name, group in groups.items():
            given = {f.name: values.pop(f.name) for f in fields(group) if f.name in values}
            values[name] = group(**given)
        _run(function, values)

    parameters = _parameters(function, hints, without)
    setattr(run, "__signature__", inspect.Signature(parameters))  # noqa: B010 (no such field)
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    lines = ["Examples:", *(f"[cyan]{line}[/cyan]" for line in example.splitlines())]
    app.command(_name(function), epilog="\n\n".join(lines), rich_help_panel=panel)(run)


def _name(function: Callable[..., None]) -> str:
    return function.__name__.rstrip("_")


def _parameters(
    function: Callable[..., None], hints: dict[str, Any], without: Collection[str]
) -> list[inspect.Parameter]:
    found: list[inspect.Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        hint = hints[parameter.name]
        alone = parameter.replace(annotation=hint, kind=inspect.Parameter.KEYWORD_ONLY)
        found += _options(hint, without) if is_dataclass(hint) else [alone]
    return found


def _run(function: Callable[..., None], values: dict[str, Any]) -> None:
    output: Output = values.get("output") or Output()
    if not ranks().first and "output" in values:  # the first one speaks for all
        output = values["output"] = replace(output, quiet=True, as_json=False)
    with _told(output), noticed_interrupts(), _warnings_as_notes(output), together():
        if ranks().size > 1 and not {"source", "data"} & values.keys():
            raise ResanalysisError(
                f"{_name(function)} divides nothing among processes: start it without torchrun"
            )
        function(**values)


@contextmanager
def _told(output: Output) -> Generator[None, None, None]:
    """What ends a command early, as one line and an exit code."""
    try:
        yield
        out: TextIO | None = sys.stdout  # None where it is closed
        if out is not None:
            out.flush()  # or Python says at its end that nobody reads, or that the disk is full
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except KeyboardInterrupt:
        _say(_interrupted(output.out))
        raise typer.Exit(INTERRUPTED) from None
    except BaseException as error:
        if _reader_is_gone(error):
            _say_no_more()
            raise typer.Exit(0) from None
        if _output_is_full(error):
            _say_no_more()
        if output.debug:
            traceback.print_exc()
        _say(message(error))
        raise typer.Exit(2 if isinstance(error, LeftOutError) else 1) from None


@contextmanager
def _warnings_as_notes(output: Output) -> Generator[None, None, None]:
    """A warning of ours is a sentence for the user, and not the line of code that it comes from."""

    def note(
        message: Warning | str, category: type[Warning], filename: str, *_: Any, **__: Any
    ) -> None:
        # What torch says to those who write graphs, 2.6 of every constant, is of no use to a user.
        if issubclass(category, UserWarning) and "torch" not in Path(filename).parts:
            tell(output, f"note: {printable(str(message))}")

    with warnings.catch_warnings():
        warnings.showwarning = note
        yield


def _options(group: Any, without: Collection[str]) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=hints[field.name],
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
        )
        for field in fields(group)
        if field.name not in without
    ]


def message(error: BaseException) -> str:
    """One line for a user: what was wrong in what they asked for, or that the mistake is ours."""
    text = text_of(error)
    if isinstance(error, ResanalysisError | FloatingPointError):
        return f"error: {text}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"error: {error.filename}: {(error.strerror or text).lower()}"
    if _output_is_full(error):
        return "error: the standard output cannot be written: no space left on device"
    if out_of_memory(error):
        return "error: out of memory; try a smaller --batch-size, or --limit"
    first = text.splitlines()[0] if text else ""
    return (
        f"unexpected error: {type(error).__name__}: {first} (a mistake of resanalysis, not yours: please "
        "report it with the command and the traceback that --debug shows)"
    )


def _reader_is_gone(error: BaseException) -> bool:
    """Whether the reader has enough (``| head``), said by Python or, as it would end us, by rich."""
    return isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError)


def _output_is_full(error: BaseException) -> bool:
    """Of a file of ours the name would be known."""
    if not isinstance(error, OSError) or error.filename is not None:
        return False
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _say_no_more() -> None:
    """What is left to be written is for nobody, and Python would complain of it at its end."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupted(out: Path) -> str:
    if any((out / ".partial").glob("*/*/*")):
        return (
            f"stopped; what was computed is kept in {out / '.partial'}: run the same command again "
            "to go on (with --fresh it starts over)"
        )
    return "stopped; no results of this run had to be kept"


def _say(text: str) -> None:
    """One line for all processes of a run, unless it is a mistake that not all of them need have met."""
    if ranks().first:
        print(text, file=sys.stderr)
    elif text.startswith("unexpected") or "memory" in text:
        print(f"process {ranks().rank} of {ranks().size}: {text}", file=sys.stderr)
