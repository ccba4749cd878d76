"""The columns of a table whose batch-norm statistics were estimated anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_AGAIN = "_recalibrated"
NAME = "statistics estimated anew"
"""What legends and titles call them."""


def recalibrated(frame: pd.DataFrame) -> pd.DataFrame | None:
    """The table with these numbers under the names of those as trained; ``None`` where it has none.

    Numbers as trained that have no such twin are left out, so that the two are never mixed.
    """
    twins = {name: name.replace(_AGAIN, "") for name in map(str, frame) if _AGAIN in name}
    if not twins:
        return None
    found = frame.drop(columns=[name for name in twins.values() if name in frame])
    return found.rename(columns=twins)
