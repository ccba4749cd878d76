"""When a single lesion stops: its interval is narrow, or it is known to be among the most needed or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resanalysis.errors import ResanalysisError
from resanalysis.statistics.separation import standings
from resanalysis.statistics.sequences import difference_sequence

Errors = NDArray[np.float32]
LEVEL = 0.95


@dataclass(frozen=True)
class Narrow:
    """A unit stops once the 95 % confidence sequence of its ``delta`` is ``width`` wide."""

    width: float
    option = "--until-width"

    def check(self, units: int) -> None:
        """Refuse a width that no interval of a difference of errors has."""
        if not 0 < self.width < 2:
            raise ResanalysisError(
                f"--until-width (until_width=) is the width of an interval of a difference of errors, such as "
                f"0.02, found {self.width:g}"
            )

    def done(self, error: Errors, base: Errors) -> NDArray[np.bool_]:
        """Which units need no more examples, of errors (units, N) and the intact network's (N,)."""
        band = difference_sequence(error, base, level=LEVEL)
        return band.high - band.low <= self.width

    def told(
        self, error: Errors, base: Errors
    ) -> tuple[Mapping[str, Any], Mapping[str, list[str]]]:
        """Facts for the manifest, and columns of the table by unit."""
        narrow = self.done(error, base)
        return {"until_width": self.width, "narrow_enough": f"{narrow.sum()} of {len(narrow)}"}, {}


@dataclass(frozen=True)
class Top:
    """A unit stops once it is known whether it is among the ``k`` most or the ``k`` least needed.

    Each unit's sequence has the level 1 − 0.05 / units, so that all hold together, at all sizes, in 95 %.
    """

    k: int
    option = "--top"

    def check(self, units: int) -> None:
        """Refuse a number of which there are not twice as many units."""
        if not 1 <= self.k <= units // 2:
            raise ResanalysisError(
                f"--top (top=) separates the K most and the K least needed of {units} units that can be "
                f"deleted: at least 1 and at most {units // 2}, found {self.k}"
            )

    def standing(self, error: Errors, base: Errors) -> list[str]:
        """Where each unit stands."""
        # Bonferroni over the units. Looks cost nothing more: a sequence holds at all sizes at once.
        band = difference_sequence(error, base, level=1 - (1 - LEVEL) / len(error))
        return list(standings(band.low, band.high, self.k))

    def done(self, error: Errors, base: Errors) -> NDArray[np.bool_]:
        """Which units need no more examples, of errors (units, N) and the intact network's (N,)."""
        return np.array([one != "open" for one in self.standing(error, base)])

    def told(
        self, error: Errors, base: Errors
    ) -> tuple[Mapping[str, Any], Mapping[str, list[str]]]:
        """Facts for the manifest, and columns of the table by unit."""
        standing = self.standing(error, base)
        known = len(standing) - standing.count("open")
        return {"top": self.k, "known": f"{known} of {len(standing)}"}, {"needed": standing}


Stop = Narrow | Top
