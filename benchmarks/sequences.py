"""How often confidence sequences hold, at every number of examples up to N together, by simulation.

Paired differences of errors are drawn: −1, 0 or 1, at given rates of examples that become wrong or right. A run
misses if the true difference was ruled out at any size up to N; nominal are 5 % of runs at the most. Beside
it, the same of the interval of Agresti and Min looked at from 100 examples on.

    python benchmarks/sequences.py [--runs 10000] [--examples 2000]
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from resanalysis.statistics.sequences import difference_p

RATES = (
    (0.001, 0.0), (0.001, 0.001), (0.01, 0.0), (0.01, 0.005), (0.05, 0.0), (0.05, 0.01), (0.05, 0.05),
    (0.2, 0.0), (0.2, 0.1), (0.2, 0.2), (0.5, 0.0), (0.5, 0.1), (0.5, 0.25), (0.5, 0.5),
)  # fmt: skip
AT_ONCE = 500


def fixed_missed(change: NDArray[np.float64], true: float) -> NDArray[np.bool_]:
    """Whether the interval for one size leaves the truth out at any size from 100 on."""
    total = np.arange(1, change.shape[1] + 1) + 2.0
    moved = np.cumsum(change, axis=1)
    changed = np.cumsum(change**2, axis=1) + 1
    half = 1.96 * np.sqrt(changed - moved**2 / total) / total
    return (np.abs(moved / total - true) > half)[:, 99:].any(axis=1)


def asked(description: str | None) -> argparse.Namespace:
    """How many runs of how many examples are simulated."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--examples", type=int, default=2000)
    return parser.parse_args()


def main() -> None:
    options = asked(__doc__)
    rng = np.random.default_rng(0)
    worst = 1.0
    for wrong, right in RATES:
        missed = fixed = 0
        for _ in range(0, options.runs, AT_ONCE):
            chances = [wrong, 1 - wrong - right, right]
            change = rng.choice([1.0, 0.0, -1.0], (AT_ONCE, options.examples), p=chances)
            p = difference_p(change, np.zeros(options.examples), wrong - right)
            missed += int((p < 0.05).sum())
            fixed += int(fixed_missed(change, wrong - right).sum())
        runs = -(-options.runs // AT_ONCE) * AT_ONCE
        worst = min(worst, 1 - missed / runs)
        print(
            f"wrong {wrong}, right {right}: {1 - missed / runs:.2%}, fixed size {1 - fixed / runs:.2%}"
        )
    print(f"worst: {worst:.2%}")


if __name__ == "__main__":
    main()
