"""One way to show long work: a bar on standard error with the time left."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_interrupted = threading.Event()
"""That Ctrl-C was pressed; state of the process, as the signal is."""


@contextmanager
def noticed_interrupts() -> Generator[None, None, None]:
    """Inside, no Ctrl-C is lost.

    Python raises KeyboardInterrupt wherever the main thread happens to be. In a callback of the garbage
    collector, which torch has many of, it is printed and swallowed, and the work goes on. So the signal is
    also written down, and looked at whenever progress is made.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, frame: Any) -> None:
        _interrupted.set()
        raise KeyboardInterrupt

    def unraisable(found: sys.UnraisableHookArgs) -> None:
        if (
            found.exc_type is not KeyboardInterrupt
        ):  # that one is written down, and needs no traceback
            told(found)

    before, told = signal.signal(signal.SIGINT, note), sys.unraisablehook
    sys.unraisablehook = unraisable
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        sys.unraisablehook = told
        _interrupted.clear()


@contextmanager
def progress_bar(
    description: str,
    total: int,
    *,
    show: bool = True,
    done: int = 0,
    note: Callable[[], str] | None = None,
) -> Generator[Callable[[int], None], None, None]:
    """Yield ``advance(steps)``; the bar starts at ``done`` of ``total``, undrawn if not ``show``.

    ``note`` says more beside the description, such as the error so far.
    """

    def words() -> str:
        return description if note is None else f"{description}, {note()}"

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not show,
    ) as progress:
        task = progress.add_task(words(), total=total, completed=done)

        def advance(steps: int) -> None:
            if _interrupted.is_set():
                raise KeyboardInterrupt
            # The note may wait for a GPU (the error so far): it is asked for only where somebody reads it.
            progress.update(task, advance=steps, description=words() if show else None)

        yield advance
