"""What goes wrong with data."""

from __future__ import annotations

from resanalysis.printable import printable


class DataError(ValueError):
    """Data that cannot be used: what was wrong, where, and what to do.

    Much of the text comes out of files, so it is made printable here, where nothing can forget it.
    """

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))
