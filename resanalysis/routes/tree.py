"""Routes by their common beginnings, and the walk that runs each of these once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from torch import Tensor

from resanalysis.network import ResidualNetwork, Side
from resanalysis.routes.route import (
    BranchOnly,
    Bridge,
    Full,
    Parallel,
    Route,
    SkipOnly,
    Step,
)

# Unit evaluations per block of routes: seconds of work, so that an interruption loses little.
_BLOCK_STEPS = 1500


@dataclass
class PrefixTree:
    """Routes by their common beginnings; a node is a step, ``ends`` the routes that end there."""

    children: dict[Step, PrefixTree] = field(default_factory=dict)
    ends: list[int] = field(default_factory=list)
    size: int = 0

    @staticmethod
    def of(routes: Sequence[tuple[int, Route]]) -> PrefixTree:
        """The tree of numbered routes; ``size`` counts the steps below each node."""
        root = PrefixTree()
        for number, route in routes:
            # Steps are frozen values, so that equal steps of two routes find the same child.
            path = [root]
            new = 0
            for step in route.steps:
                child = path[-1].children.get(step)
                if child is None:
                    child = path[-1].children[step] = PrefixTree()
                    new += 1
                path.append(child)
            path[-1].ends.append(number)
            fresh_from = len(path) - new
            # Only the steps that this route brings count, and for each node those that lie below it.
            for depth, node in enumerate(path):
                node.size += len(path) - max(depth + 1, fresh_from)
        return root


@dataclass(frozen=True)
class RouteBlock:
    """Some of the routes.

    Attributes
    ----------
    numbers : which they are of all.
    tree : their tree, in which they are numbered from 0.
    """

    numbers: tuple[int, ...]
    tree: PrefixTree


def route_blocks(routes: Sequence[Route]) -> list[RouteBlock]:
    """Routes in an order that keeps common prefixes together, in blocks of bounded work."""
    # In any order that sorts by steps, routes of a common prefix are neighbours; which order it is does not
    # matter.
    order = sorted(
        range(len(routes)),
        key=lambda number: [(type(s).__name__, repr(s)) for s in routes[number].steps],
    )
    blocks: list[list[int]] = [[]]
    work = 0
    before: tuple[Step, ...] = ()
    for number in order:
        steps = routes[number].steps
        cost = len(steps) - (_shared(before, steps) if blocks[-1] else 0)
        # A block is walked, and kept in the store, by itself. So the first route of the next one pays for its
        # whole length.
        if blocks[-1] and work + cost > _BLOCK_STEPS:
            blocks.append([])
            work, cost = 0, len(steps)
        blocks[-1].append(number)
        work += cost
        before = steps
    return [
        RouteBlock(tuple(block), PrefixTree.of(list(enumerate(routes[number] for number in block))))
        for block in blocks
    ]


def _shared(first: Sequence[Step], second: Sequence[Step]) -> int:
    """How many steps two routes have in common before they part."""
    pairs = zip(first, second, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def walk_tree(
    network: ResidualNetwork,
    tree: PrefixTree,
    h: Tensor,
    side: Side,
    arrive: Callable[[list[int], Tensor, Side], None],
) -> None:
    """Run all routes of a tree, every common beginning once.

    Depth first, and at each branching the largest subtree last, when the stream that all of them start from
    is no longer needed: so no more than log₂(routes) streams wait at a time.

    Parameters
    ----------
    arrive : called with the numbers of the routes that end where the stream is, and what the head takes.
    """
    # A loop and not a call for the largest subtree: this frame would hold its stream until the last route
    # ended.
    while True:
        if tree.ends:
            arrive(tree.ends, h, side)
        if not tree.children:
            return
        *small, (step, largest) = sorted(tree.children.items(), key=lambda item: item[1].size)
        for other, subtree in small:
            walk_tree(network, subtree, *run_step(network, other, h, side), arrive)
        h, side = run_step(network, step, h, side)
        tree = largest


def run_step(network: ResidualNetwork, step: Step, h: Tensor, side: Side) -> tuple[Tensor, Side]:
    """Apply one step of a route to the stream; what the head reads on the way goes behind the side inputs."""
    match step:
        case Bridge(unit):
            return network.reach(unit, h, side)
        # `full` has skip, branch and join in one graph; any other factor needs the branch by itself.
        case Full(unit, 1.0):
            return network.units[unit](h, side), side
        case Full(unit, factor):
            return network.units[unit].scaled(h, factor, side), side
        case SkipOnly(unit):
            return network.units[unit].without_branch(h, side), side
        case BranchOnly(unit):
            return network.units[unit].without_skip(h, side), side
        case Parallel(units, loops):
            for _ in range(loops):
                h = _mean_output(network, units, h, side)
            return h, side


def _mean_output(network: ResidualNetwork, units: Sequence[int], h: Tensor, side: Side) -> Tensor:
    total = network.units[units[0]](h, side)
    for unit in units[1:]:  # a running sum: memory does not grow with the units
        total = total + network.units[unit](h, side)
    return total / len(units)
