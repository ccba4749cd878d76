"""One way to show long work: a bar on standard error with the time left."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


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
        yield lambda steps: progress.update(
            task, advance=steps, description=words() if show else None
        )
