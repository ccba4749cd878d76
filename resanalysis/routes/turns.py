"""Routes breadth first: in which order the parts of a network come, and which streams each then works on.

Depth first, every route asks for all units, one after the other. Here the units come in the order of the chain,
round and round, and each works on every stream that waits for it. Single deletions need one round, and a
reordering as many as its order has descents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from resanalysis.errors import ResanalysisError
from resanalysis.network import ResidualNetwork
from resanalysis.routes.route import Bridge, Parallel, Route, Step, intact
from resanalysis.routes.tree import PrefixTree


@dataclass(frozen=True)
class Move:
    """One step of the stream ``source``, which makes the stream ``target``; ``last`` of its source."""

    step: Step
    source: int
    target: int
    last: bool = False


@dataclass(frozen=True)
class Turn:
    """A part of the network, by the beginning of its name in ``parts()``, and what it works on."""

    place: str
    moves: tuple[Move, ...]


@dataclass(frozen=True)
class Schedule:
    """All turns of some routes.

    Attributes
    ----------
    turns : in order; stream 0 is what the stem makes.
    ends : routes that end with each stream, by stream.
    intact : the stream of the intact network at its end.
    most : streams that are there at one time, at most.
    """

    turns: tuple[Turn, ...]
    ends: dict[int, list[int]]
    intact: int
    most: int


def schedule(network: ResidualNetwork, routes: Sequence[Route]) -> Schedule:
    """The turns of the routes and of the intact network, which all are compared with.

    Raises
    ------
    ResanalysisError : for routes that need several units at a time.
    """
    whole = len(routes)
    queue = _Queue()
    queue.arrive(PrefixTree.of(list(enumerate([*routes, intact(network)]))))
    order = [f"{kind}{unit}" for unit in range(len(network)) for kind in ("bridge", "unit")]
    turns: list[Turn] = []
    # What waits for a part that has passed in this round is served in the next one.
    while queue.waiting:
        for place in order:
            moves = queue.served(place)
            if moves:
                turns.append(Turn(place, tuple(moves)))
    (end,) = (stream for stream, numbers in queue.ends.items() if whole in numbers)
    ends = {s: [n for n in numbers if n != whole] for s, numbers in queue.ends.items()}
    marked, most = _marked(turns, kept=ends)
    return Schedule(tuple(marked), ends, end, most)


@dataclass
class _Queue:
    """Streams by number, and the steps that wait for a part."""

    waiting: dict[str, list[tuple[Step, int, PrefixTree]]] = field(
        default_factory=dict[str, list[tuple[Step, int, PrefixTree]]]
    )
    ends: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    streams: int = 0

    def arrive(self, tree: PrefixTree) -> int:
        """A new stream at a node of the tree: its number."""
        number = self.streams
        self.streams += 1
        if tree.ends:
            self.ends[number] = tree.ends
        for step, child in tree.children.items():
            self.waiting.setdefault(_place(step), []).append((step, number, child))
        return number

    def served(self, place: str) -> list[Move]:
        """All that waits for a part, and what then waits for it again."""
        moves: list[Move] = []
        # A route that repeats a unit waits for it again, and is served while its weights are there.
        while place in self.waiting:
            for step, source, child in self.waiting.pop(place):
                moves.append(Move(step, source, self.arrive(child)))
        return moves


def _place(step: Step) -> str:
    match step:
        case Bridge(unit):
            return f"bridge{unit}"
        case Parallel():
            raise ResanalysisError(
                "units in parallel need the weights of all of them at a time, and --stream-weights reads one "
                "unit's: leave it out"
            )
        case _:
            return f"unit{step.unit}"


def _marked(turns: Sequence[Turn], kept: dict[int, list[int]]) -> tuple[list[Turn], int]:
    """The turns with each stream's last move marked, and how many streams there are at most."""
    left = Counter(move.source for turn in turns for move in turn.moves)
    alive = most = 1
    marked: list[Turn] = []
    for turn in turns:
        moves: list[Move] = []
        for move in turn.moves:
            alive += 1
            most = max(most, alive)
            left[move.source] -= 1
            # A stream that some route ends with is read once more, by the head.
            last = left[move.source] == 0 and move.source not in kept
            alive -= last
            moves.append(replace(move, last=last))
        marked.append(replace(turn, moves=tuple(moves)))
    return marked, most
