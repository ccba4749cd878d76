"""Which of many numbers are the k largest and the k smallest, from intervals that hold for all together."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

Standing = Literal["most", "least", "between", "open"]
"""Among the k largest; among the k smallest; neither; or not known yet."""


def standings(low: ArrayLike, high: ArrayLike, k: int) -> list[Standing]:
    """Where each number stands, as far as intervals that do not overlap tell it.

    If all intervals hold, every answer but ``open`` is right: a number is among the k largest once all but
    k − 1 of the others are surely smaller, and is not once k are surely larger. Equal numbers stay open.

    Parameters
    ----------
    low, high : (n,) ends of the intervals.
    k : at most half of n.
    """
    low, high = np.asarray(low), np.asarray(high)
    smaller = (high[None, :] < low[:, None]).sum(1)  # of the others, those surely smaller than each
    larger = (low[None, :] > high[:, None]).sum(1)
    pairs = zip(smaller.tolist(), larger.tolist(), strict=True)
    return [_standing(below, above, k, len(low) - k) for below, above in pairs]


def _standing(smaller: int, larger: int, k: int, rest: int) -> Standing:
    # `rest` is n − k: of the n − 1 others, all but k − 1. An end that is NaN is neither above nor below: open.
    if smaller >= rest:
        return "most"
    if larger >= rest:
        return "least"
    return "between" if smaller >= k and larger >= k else "open"
