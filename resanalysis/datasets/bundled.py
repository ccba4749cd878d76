"""Models and data that ship with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from resanalysis.errors import ResanalysisError


def bundled_file(name: str, ending: str, what: str, error: type[ResanalysisError]) -> Path:
    """The file of what ships under a name.

    Raises
    ------
    error : if there is none, naming those there are.
    """
    folder = files("resanalysis") / "bundled"
    path = Path(str(folder / f"{name}{ending}"))
    if not path.is_file():
        names = (entry.name for entry in folder.iterdir() if entry.name.endswith(ending))
        there = ", ".join(sorted(found.removesuffix(ending) for found in names))
        raise error(f"no {what} bundled:{name} ships; there are {there}")
    return path
