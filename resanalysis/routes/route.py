"""Routes: which part of each unit runs, and in what order; Kendall's tau between two orders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.stats import kendalltau

from resanalysis.errors import ResanalysisError
from resanalysis.network import ResidualNetwork


@dataclass(frozen=True)
class Full:
    """The unit as trained, its branch multiplied by ``factor``."""

    unit: int
    factor: float = 1.0


@dataclass(frozen=True)
class SkipOnly:
    """The unit without its branch."""

    unit: int


@dataclass(frozen=True)
class BranchOnly:
    """The unit without its skip."""

    unit: int


@dataclass(frozen=True)
class Bridge:
    """What lies before unit ``unit``: plain layers, or a place where the head reads the stream."""

    unit: int


@dataclass(frozen=True)
class Parallel:
    """All units read the same stream and the mean of their outputs goes on; ``loops`` times.

    Source: Sun et al. 2024, "Transformer Layers as Painters".
    """

    units: tuple[int, ...]
    loops: int = 1


Step = Full | SkipOnly | BranchOnly | Bridge | Parallel


@dataclass(frozen=True)
class Route:
    """A way through the network: the steps between stem and head, in order."""

    steps: tuple[Step, ...]

    def _repr_html_(self) -> str:
        """What a notebook shows: the steps, and its runs of steps that are alike."""
        from resanalysis.routes.shown import route_html  # which reads the steps defined above

        return route_html(self)


def _assembled(network: ResidualNetwork, at: Sequence[Step | None]) -> Route:
    """Steps by position, with every bridge kept at its place; ``None`` leaves a position empty."""
    steps: list[Step] = []
    for position, step in enumerate(at):
        if not network.joined(position):
            steps.append(Bridge(position))
        if step is not None:
            steps.append(step)
    return Route(tuple(steps))


def _checked(network: ResidualNetwork, units: Iterable[int]) -> frozenset[int]:
    chosen = frozenset(units)
    outside = sorted(unit for unit in chosen if not 0 <= unit < len(network))
    if outside:
        raise ResanalysisError(f"the network has units 0 to {len(network) - 1}, got {outside}")
    return chosen


def intact(network: ResidualNetwork) -> Route:
    """The network as trained."""
    return _assembled(network, [Full(unit) for unit in range(len(network))])


def without(network: ResidualNetwork, units: Iterable[int]) -> Route:
    """Delete the branches of ``units``; their skips stay (Veit et al. 2016, §4.1)."""
    removed = _checked(network, units)
    for unit in sorted(removed):
        if not network.units[unit].deletable:
            raise ResanalysisError(
                f"unit {unit} ({network.units[unit].name}) is a plain layer that changes the "
                "stream's shape and cannot be deleted"
            )
    return _assembled(
        network, [SkipOnly(u) if u in removed else Full(u) for u in range(len(network))]
    )


def cut_skip(network: ResidualNetwork, units: Iterable[int]) -> Route:
    """Delete the skips of ``units``; their branches stay: the control for a lesion."""
    cut = _checked(network, units)
    return _assembled(
        network, [BranchOnly(u) if u in cut else Full(u) for u in range(len(network))]
    )


def scaled(network: ResidualNetwork, factors: dict[int, float]) -> Route:
    """Multiply the branches of some units."""
    _checked(network, factors)
    return _assembled(network, [Full(u, factors.get(u, 1.0)) for u in range(len(network))])


def interchangeable(network: ResidualNetwork) -> list[tuple[int, ...]]:
    """Groups of units that may change places: of one stage and stream shape, no transitions.

    Attention and MLP of a transformer count as alike; unravel it by layer to move whole layers.
    """
    stages: dict[tuple[object, ...], tuple[int, ...]] = {}
    for run in network.runs():
        # By stage too: two of one shape can lie on two sides of a bridge.
        first = network.units[run[0]]
        # A place where the head reads the stream ends a run, and not the stage.
        at = first.stage, first.in_shape
        stages[at] = stages.get(at, ()) + run
    return list(stages.values())


def reordered(network: ResidualNetwork, order: Sequence[int]) -> Route:
    """Put unit ``order[p]`` at position p.

    Raises
    ------
    ResanalysisError : if ``order`` is no permutation of all units, or moves a unit to a place where the
        stream has another shape.
    """
    if sorted(order) != list(range(len(network))):
        raise ResanalysisError(
            f"an order names each of the units 0 to {len(network) - 1} once, got {list(order)}"
        )
    return placed(network, order)


def placed(network: ResidualNetwork, units: Sequence[int]) -> Route:
    """Run unit ``units[p]`` at position p; a unit may run at several positions, or at none.

    Raises
    ------
    ResanalysisError : if there is not one unit for every position, or a unit is put to a place where the
        stream has another shape.
    """
    _checked(network, units)
    if len(units) != len(network):
        raise ResanalysisError(f"{len(network)} positions need a unit each, got {len(units)} units")
    for position, unit in enumerate(units):
        here, moved = network.units[position], network.units[unit]
        if unit != position and (
            here.in_shape != moved.in_shape or here.out_shape != moved.out_shape
        ):
            raise ResanalysisError(
                f"unit {unit} ({moved.name}: {moved.in_shape} → {moved.out_shape}) cannot run in place "
                f"of unit {position} ({here.name}: {here.in_shape} → {here.out_shape})"
            )
    return _assembled(network, [Full(unit) for unit in units])


def parallel(network: ResidualNetwork, runs: Iterable[Sequence[int]], *, loops: int = 1) -> Route:
    """All units of a run read the same stream and the mean of their outputs goes on, for every run.

    Parameters
    ----------
    runs : consecutive units of equal stream shape, with no bridge between them.
    loops : how often each mean is fed back into its run.

    Raises
    ------
    ResanalysisError : if ``loops`` is below 1, or a run is no such run.

    Source: Sun et al. 2024, "Transformer Layers as Painters".
    """
    if loops < 1:
        raise ResanalysisError(f"parallel units run at least once, got loops = {loops}")
    at: list[Step | None] = [Full(unit) for unit in range(len(network))]
    for run in runs:
        units = tuple(run)
        _checked(network, units)
        for before, unit in pairwise(units):
            if unit != before + 1 or not network.joined(unit):
                raise ResanalysisError(
                    f"units {before} and {unit} do not follow each other directly"
                )
        for unit in units:
            found = network.units[unit]
            if found.in_shape != found.out_shape:
                raise ResanalysisError(
                    f"unit {unit} ({found.name}: {found.in_shape} → {found.out_shape}) changes the "
                    "stream's shape and cannot run in parallel with others"
                )
            at[unit] = Parallel(units, loops) if unit == units[0] else None
    return _assembled(network, at)


def swapped(network: ResidualNetwork, pairs: Iterable[tuple[int, int]]) -> Route:
    """Exchange the units at the two positions of each pair, one pair after the other."""
    return reordered(network, swapped_order(len(network), pairs))


def swapped_order(units: int, pairs: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    """The order that results from exchanging positions, one pair after the other."""
    order = list(range(units))
    for first, second in pairs:
        order[first], order[second] = order[second], order[first]
    return tuple(order)


def kendall_tau(order: Sequence[int]) -> float:
    """Rank correlation of an order with the trained one, over all the units given; 1 for the identity.

    Units that cannot move (transitions) count too, so within-stage orders have a floor above −1: for
    three stages of 18 units it is 0.406. Source: Veit et al. 2016, §4.3.
    """
    if len(order) < 2:
        return 1.0
    tau = float(np.asarray(kendalltau(np.arange(len(order)), np.asarray(order)))[0])
    return round(tau, 12)  # scipy gives 0.9999999999999999 for the identity
