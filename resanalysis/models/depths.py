"""How many units a depth means: 6n + 2 layers of units of two, 9n + 2 of units of three."""

from __future__ import annotations

from resanalysis.errors import ResanalysisError


def units_per_stage(depth: int, layers: int = 2) -> int:
    """Units in each of three stages of a network with so many weighted layers.

    Parameters
    ----------
    depth : layers in all: the stem, three stages, the classifier.
    layers : layers of one unit, 2 or 3 (a bottleneck).

    Raises
    ------
    ResanalysisError : if there is no such depth.
    """
    period = 3 * layers
    if depth < period + 2 or (depth - 2) % period:
        examples = "8, 14, 20, …, 56, 110" if layers == 2 else "11, 20, 29, …, 164, 1001"
        kind = "" if layers == 2 else " of bottleneck units"
        raise ResanalysisError(
            f"a CIFAR ResNet{kind} has depth {period}n + 2 ({examples}), got {depth}; the nearest "
            f"is {nearest_depth(depth, layers)}"
        )
    return (depth - 2) // period


def nearest_depth(depth: int, layers: int) -> int:
    """The depth closest to one there is no network of."""
    period = 3 * layers
    return max(period + 2, period * round((depth - 2) / period) + 2)


def usual_bottleneck(depth: int) -> bool:
    """Whether the papers' network of this depth has bottleneck units.

    Depths 18n + 2 are both: of those only 164 is the bottleneck network in print (He et al. 2016).
    """
    return depth == 164 or ((depth - 2) % 9 == 0 and (depth - 2) % 6 != 0)
