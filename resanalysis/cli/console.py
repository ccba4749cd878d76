"""What a command says when it has finished: headline numbers, or the rows as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from resanalysis.errors import printable

if TYPE_CHECKING:
    import pandas as pd

    from resanalysis.cli.options import Output
    from resanalysis.figures.headlines import Headlines


def tell(output: Output, text: str) -> None:
    """A sentence about what is going on, on standard error."""
    if not output.quiet:
        Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)


def show(
    output: Output, tables: Mapping[str, pd.DataFrame], title: str, files: Sequence[Path]
) -> None:
    """Print the headline numbers of each table and where the files are.

    With ``--json`` the rows go to standard output instead: a list for one table, an object of lists
    by stem for several.
    """
    if output.as_json:
        from resanalysis.run.cells import json_rows

        # Standard output is the document's alone; all else is said on standard error.
        rows: Any = {stem: json_rows(frame) for stem, frame in tables.items()}
        print(json.dumps(rows if len(rows) > 1 else next(iter(rows.values())), allow_nan=False))
    if output.quiet:
        return
    from resanalysis.figures.headlines import headlines

    console = Console(file=sys.stderr if output.as_json else sys.stdout, highlight=False)
    for stem, frame in tables.items():
        named = title if len(tables) == 1 else f"{title}: {stem}"
        for label, part in _by_model(stem, frame):
            console.print(_table(f"{named} ({label})" if label else named, headlines(stem, part)))
    console.print(
        f"written: {', '.join(str(path) for path in files)}", markup=False, soft_wrap=True
    )


def _by_model(stem: str, frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Each model's rows where several are in one table; what a row says is of its own model."""
    labels = frame.attrs.get("models") or []
    # The headlines of `response` compare the models by themselves.
    if stem == "response" or len(labels) < 2:
        return [("", frame)]
    parts: list[tuple[str, pd.DataFrame]] = []
    for label in labels:
        part = frame.loc[frame["model"] == label]
        part.attrs.update(frame.attrs.get("of_each", {}).get(label, {}))
        parts.append((str(label), part))
    return parts


def _table(title: str, rows: Headlines) -> Table:
    table = Table(
        title=Text(printable(title), style="bold"),
        title_justify="left",
        show_header=False,
        box=None,
        padding=(0, 2, 0, 0),
    )
    for label, value in rows:
        table.add_row(Text(printable(label)), Text(printable(value)))  # names of units are a file's
    return table
