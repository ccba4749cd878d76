"""Standings against every order that the intervals allow, and what they promise by simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from resanalysis.statistics.separation import standings
from resanalysis.statistics.sequences import mean_sequence


@pytest.mark.parametrize("k", [1, 2])
def test_it_is_what_every_order_inside_the_intervals_agrees_on(k: int) -> None:
    rng = np.random.default_rng(k)
    told: set[str] = set()
    for _ in range(60):
        low = rng.integers(0, 9, 5) * 2
        high = low + rng.integers(0, 3, 5) * 2
        # Ends a little apart, so that two numbers never have to be equal.
        ends = [(4 * a + i, 4 * b + i) for i, (a, b) in enumerate(zip(low, high, strict=True))]
        grid = [sorted({a, (a + b) // 2, b}) for a, b in ends]
        found = standings([a for a, _ in ends], [b for _, b in ends], k)
        seen: list[set[str]] = [set() for _ in ends]
        for values in itertools.product(*grid):
            if len(set(values)) == 5:
                ranked = np.argsort(values)
                for place, number in enumerate(ranked):
                    seen[number].add(
                        "most" if place >= 5 - k else "least" if place < k else "between"
                    )
        for mine, possible in zip(found, seen, strict=True):
            assert mine == "open" or possible == {mine}
            assert mine != "open" or len(possible) > 1
        told |= set(found)
    assert told == {"most", "least", "between", "open"}


def test_equal_numbers_stay_open() -> None:
    assert standings([0.5] * 4, [0.5] * 4, 1) == ["open"] * 4
    assert standings([0.1, 0.5, 0.5, 0.9], [0.1, 0.5, 0.5, 0.9], 1) == [
        "least",
        "between",
        "between",
        "most",
    ]


APART = np.array([0.02, 0.2, 0.25, 0.3, 0.6])
CLOSE = np.array([0.3, 0.31, 0.32, 0.33])
LOOKS = (40, 60, 90, 135, 200, 300)


def wrong_and_known(
    rates: NDArray[np.float64], level: float | None, runs: int = 150
) -> tuple[float, float]:
    """Shares of runs that ever say something wrong, and that know the largest and the smallest at last.

    Parameters
    ----------
    level : of the sequences; ``None`` takes intervals that hold in half of all cases, each at one size.
    """
    rng = np.random.default_rng(0)
    wrong, known = np.zeros(runs, dtype=bool), 0.0
    draws = (rng.random((runs, len(rates), LOOKS[-1])) < rates[:, None]).astype(float)
    right = ["least", *["between"] * (len(rates) - 2), "most"]
    for n in LOOKS:
        low, high = ends(draws[:, :, :n], level)
        said = [standings(a, b, 1) for a, b in zip(low, high, strict=True)]
        wrong |= [
            any(one not in ("open", true) for one, true in zip(run, right, strict=True))
            for run in said
        ]
        known = float(np.mean([run[0] == "least" and run[-1] == "most" for run in said]))
    return float(wrong.mean()), known


def ends(
    draws: NDArray[np.float64], level: float | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends (runs, units) of intervals of draws (runs, units, n)."""
    runs, units, n = draws.shape
    if level is not None:
        found = mean_sequence(draws.reshape(-1, n), level=level)
        return found.low.reshape(runs, units), found.high.reshape(runs, units)
    mean = draws.mean(-1)
    half = 0.674 * np.sqrt(mean * (1 - mean) / n)
    return mean - half, mean + half


@pytest.mark.parametrize("rates", [APART, CLOSE])
def test_looking_often_it_is_seldom_wrong(rates: NDArray[np.float64]) -> None:
    wrong, known = wrong_and_known(rates, 1 - 0.05 / len(rates))
    assert wrong <= 0.05
    assert (known > 0.5) == (rates is APART)


def test_intervals_that_seldom_hold_are_often_wrong() -> None:
    assert wrong_and_known(CLOSE, None)[0] > 0.2
