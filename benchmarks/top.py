"""How often all confidence sequences behind ``lesion --top K`` hold together, by simulation.

Units are drawn whose deletion makes right examples wrong and wrong ones right at given rates, independently
of each other: the worst case, as misses of several units then fall on different runs. A run misses if the
sequence of any unit, at the level that the command gives it, ever leaves its true damage out, at any size up to
N; nominal are 5 % of runs at the most. In all others every answer is right.

Beside it, how often all answers are right if the command's looks are made with intervals of Agresti and Min
for one number of examples, 95 % each. Damages are equal, so every answer is wrong.

    python benchmarks/top.py [--runs 10000] [--examples 2000]
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from resanalysis.experiments.lesion_stop import LEVEL
from resanalysis.experiments.lesion_until import _FIRST, _GROWTH
from resanalysis.statistics.intervals import paired_rate_difference
from resanalysis.statistics.separation import standings
from resanalysis.statistics.sequences import difference_p

INTACT = 0.1
"""Error of the intact network."""
AT_ONCE, ONE_SIZE = 100, 5
# Units, and their rates of examples that become wrong, and right.
CASES = (
    (8, 0.01, 0.005), (8, 0.05, 0.05), (8, 0.2, 0.05), (8, 0.5, 0.1), (2, 0.05, 0.05), (2, 0.5, 0.1),
)  # fmt: skip

Errors = NDArray[np.bool_]


def drawn(
    rng: np.random.Generator, units: int, wrong: float, right: float, examples: int
) -> tuple[Errors, Errors]:
    """Errors of each deletion (units, runs, N) and of the intact network (runs, N)."""
    base = rng.random((AT_ONCE, examples)) < INTACT
    chance = rng.random((units, AT_ONCE, examples))
    return np.where(base, chance >= right / INTACT, chance < wrong / (1 - INTACT)), base


def answers_one(error: Errors, base: Errors) -> bool:
    """Whether intervals for one size, of errors (units, N), ever say of a unit where it stands."""
    k = max(1, len(error) // 4)
    size = 0
    while size < len(base):
        size = min(max(_FIRST, int(size * _GROWTH)), len(base))
        ends = [paired_rate_difference(row[:size], base[:size]) for row in error]
        found = standings([end.low for end in ends], [end.high for end in ends], k)
        if any(answer != "open" for answer in found):
            return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--examples", type=int, default=2000)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    blocks = -(-options.runs // AT_ONCE)
    for units, wrong, right in CASES:
        level = 1 - (1 - LEVEL) / units
        missed = fixed = 0
        for _ in range(blocks):
            error, base = drawn(rng, units, wrong, right, options.examples)
            p = [difference_p(one, base, wrong - right, level=level) for one in error]
            missed += int((np.array(p) < 1 - level).any(axis=0).sum())
            fixed += sum(answers_one(error[:, run], base[run]) for run in range(ONE_SIZE))
        held, answers = 1 - missed / blocks / AT_ONCE, 1 - fixed / blocks / ONE_SIZE
        print(
            f"{units} units, wrong {wrong}, right {right}: all hold {held:.2%}; intervals for one size, "
            f"all answers right {answers:.1%} of {blocks * ONE_SIZE} runs",
            flush=True,
        )


if __name__ == "__main__":
    main()
