"""``resanalysis check``: whether a run folder is whole and unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
resanalysis check results
"""


def check(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="What a command wrote with --out.")],
) -> None:
    """Whether the tables and figures in a folder are those that its manifest records.

    Every file a command wrote is compared with the sha256 in manifest.json. Exit code 1 if one is missing or
    another, as after a run that was killed while it wrote.
    """
    from resanalysis.errors import ResultsError, printable
    from resanalysis.run.manifest import damaged, read_manifest

    entries = read_manifest(out)
    if not entries:
        raise ResultsError(
            f"{out} holds no manifest.json: nothing was written there by resanalysis"
        )
    files = {command: len(entry.get("sha256") or ()) for command, entry in entries.items()}
    wrong = [f"{command}: no file is recorded" for command, count in files.items() if not count]
    wrong += damaged(out)
    if wrong:
        raise ResultsError(f"{out}: {'; '.join(wrong)}; run the command again")
    whole = f"{out}: {sum(files.values())} files of {', '.join(files)} are as they were written"
    print(printable(whole))
