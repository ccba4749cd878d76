"""How often all confidence sequences behind ``lesion --top K`` hold together, by simulation.

Units are drawn whose deletion makes right examples wrong and wrong ones right at given rates, independently
of each other: the worst case, as misses of several units then fall on different runs. A run misses if the
sequence of any unit, at the level that the command gives it, ever leaves its true damage out, at any size up to
N; nominal are 5 % of runs at the most. In all others every answer is right.

    python benchmarks/top.py [--runs 10000] [--examples 2000]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sequences import asked

from resanalysis.experiments.lesion_stop import LEVEL
from resanalysis.statistics.sequences import difference_p

INTACT = 0.1
"""Error of the intact network."""
UNITS, AT_ONCE = 8, 100
# Of examples that become wrong, and right.
RATES = ((0.01, 0.005), (0.05, 0.05), (0.2, 0.05), (0.5, 0.1))

Errors = NDArray[np.bool_]


def drawn(
    rng: np.random.Generator, wrong: float, right: float, examples: int
) -> tuple[Errors, Errors]:
    """Errors of each deletion (units, runs, N) and of the intact network (runs, N)."""
    base = rng.random((AT_ONCE, examples)) < INTACT
    chance = rng.random((UNITS, AT_ONCE, examples))
    return np.where(base, chance >= right / INTACT, chance < wrong / (1 - INTACT)), base


def main() -> None:
    options = asked(__doc__)
    rng = np.random.default_rng(0)
    blocks = -(-options.runs // AT_ONCE)
    level = 1 - (1 - LEVEL) / UNITS
    for wrong, right in RATES:
        missed = 0
        for _ in range(blocks):
            error, base = drawn(rng, wrong, right, options.examples)
            p = [difference_p(one, base, wrong - right, level=level) for one in error]
            missed += int((np.array(p) < 1 - level).any(axis=0).sum())
        held = 1 - missed / blocks / AT_ONCE
        print(f"{UNITS} units, wrong {wrong}, right {right}: all hold {held:.2%}", flush=True)


if __name__ == "__main__":
    main()
