"""What a unit costs, with its branch and without: parameters, operations, and measured time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.utils._pytree as pytree
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from resanalysis.network import Inputs, Piece, ResidualNetwork, ResidualUnit, Side
from resanalysis.progress import progress_bar
from resanalysis.routes.batches import Block, BlockStore, kept
from resanalysis.routes.shortening import shortened
from resanalysis.statistics.bootstrap import Interval, bootstrap_quantile

FEWEST_PAIRS, MOST_PAIRS = 5, 40
Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Costs:
    """Costs of the units for one example.

    Attributes
    ----------
    parameters, flops : (2, units): of the unit as it is, and of what stays of it without its branch.
    flops_elsewhere : of stem, bridges and head.
    """

    parameters: Counts
    flops: Counts
    flops_elsewhere: int

    def left(self, gone: Iterable[int]) -> tuple[int, int]:
        """Parameters and operations left in the units."""
        row = np.zeros(self.parameters.shape[1], dtype=np.int64)
        row[list(gone)] = 1
        places = np.arange(len(row))
        return int(self.parameters[row, places].sum()), int(self.flops[row, places].sum())


def unit_costs(network: ResidualNetwork, inputs: Inputs) -> Costs:
    """Count parameters and floating-point operations of one example: a multiply-add is two."""
    parameters = np.zeros((2, len(network)), dtype=np.int64)
    flops = np.zeros((2, len(network)), dtype=np.int64)
    with torch.no_grad():

        def step(unit: ResidualUnit, h: Tensor, side: Side) -> Tensor:
            after, flops[0, unit.index] = _counted(lambda: unit(h, side))
            if unit.deletable:
                flops[1, unit.index] = _counted(lambda: unit.without_branch(h, side))[1]
            return after

        def whole() -> int:
            h, side = network.walk(*network.enter(inputs), step)
            network.leave(h, side)
            return len(h)

        rows, elsewhere = _counted(whole)
    for unit in network.units:
        parameters[:, unit.index] = unit.parameters, _parameters(_left_of(unit))
    # Counters nest, and the inner ones count for the outer one as well.
    return Costs(parameters, flops // rows, (elsewhere - int(flops.sum())) // rows)


@torch.no_grad()
def part_operations(
    network: ResidualNetwork, example: Inputs | None = None
) -> dict[str, int | None]:
    """Floating-point operations of each part for one example, by the part's name: a multiply-add is two.

    Parameters
    ----------
    example : left out, each part runs on a stream of zeros, whose shape every unit knows. ``None`` stands for
        parts that need more: the stem, and those that read side inputs.
    """
    if example is None:
        return _operations_on_zeros(network)
    (h, side), operations = _counted(lambda: network.enter(example))
    found: dict[str, int] = {"stem": operations}
    examples = len(h)
    for unit, _, bridge in network.chain():
        (h, side), operations = _counted(
            lambda h=h, side=side, at=unit.index: network.reach(at, h, side)
        )
        if bridge is not None:
            found[f"bridge{unit.index}"] = operations
        h, found[f"unit{unit.index}"] = _counted(lambda h=h, s=side, unit=unit: unit(h, s))
    found["head"] = _counted(lambda: network.leave(h, side))[1]
    return {part: round(operations / examples) for part, operations in found.items()}


def _operations_on_zeros(network: ResidualNetwork) -> dict[str, int | None]:
    found: dict[str, int | None] = {"stem": None}
    shape: tuple[int, ...] | None = None  # before the first unit a bridge may have changed it
    for unit, _, bridge in network.chain():
        if bridge is not None:
            found[f"bridge{unit.index}"] = _of_zeros(network, [bridge], bridge, shape)
        pieces = unit.modules().values()
        found[f"unit{unit.index}"] = _of_zeros(network, pieces, unit, unit.in_shape)
        shape = unit.out_shape
    head = network.head
    found["head"] = None if network.taps else _of_zeros(network, [head], head, shape)
    return found


def _of_zeros(
    network: ResidualNetwork,
    pieces: Iterable[nn.Module],
    run: Callable[[Tensor], Any],
    shape: tuple[int, ...] | None,
) -> int | None:
    if shape is None or any(isinstance(piece, Piece) and piece.reads for piece in pieces):
        return None
    examples = network.batch_size or 1
    stream = torch.zeros(examples, *shape, dtype=network.float_type, device=network.device)
    return round(_counted(lambda: run(stream))[1] / examples)


def _counted(run: Callable[[], Any]) -> tuple[Any, int]:
    """What a part returns, and the operations of its matrix products and convolutions."""
    drawn = random.getstate()  # the counter's first use imports what draws from it
    try:
        with FlopCounterMode(display=False) as counter:
            result = run()
    finally:
        random.setstate(drawn)
    return result, int(counter.get_total_flops())


def _left_of(unit: ResidualUnit) -> Sequence[nn.Module]:
    """The parts that stay of a unit without its branch."""
    if unit.skip_kind == "none":
        return ()
    return (unit.join,) if unit.skip_kind == "gate" else (unit.skip, unit.join)


def _parameters(parts: Iterable[nn.Module]) -> int:
    # By storage: parts of a unit share weights, and each counts once.
    found = {tensor.data_ptr(): tensor for part in parts for tensor in part.parameters()}
    return sum(tensor.numel() for tensor in found.values())


def speed_ups(
    network: ResidualNetwork,
    removals: Sequence[tuple[int, ...]],
    inputs: Inputs,
    *,
    made: Callable[[tuple[int, ...]], nn.Module] | None = None,
    seconds: float = 20.0,
    store: BlockStore | None = None,
    seed: int = 0,
    show_progress: bool = False,
) -> list[Interval]:
    """How many times faster the network runs without some units.

    Both run the same unfused pieces on the same batch in this process, in turn, whichever is first
    alternating. A pair gives a ratio; the median over pairs is returned with its bootstrap interval, which
    holds the noise of this run and no difference between machines.

    Parameters
    ----------
    removals : units gone, for every ratio wanted.
    made : the module without them; ``shortened`` if left out.
    seconds : for all of them; each gets its share, but at least five pairs.
    """
    result: list[Interval] = []
    intact = shortened(network, ())
    without = made or partial(shortened, network)
    share = seconds / max(1, len(removals))
    with progress_bar("timing", len(removals), show=show_progress) as advance:
        for gone in removals:
            key = f"time-{'.'.join(str(unit) for unit in gone)}"
            block = kept(store, key, partial(_timed, intact, gone, without, inputs, share))
            result.append(bootstrap_quantile(block["ratios"], 0.5, seed=seed))
            advance(1)
    return result


def _timed(
    intact: nn.Module,
    gone: tuple[int, ...],
    without: Callable[[tuple[int, ...]], nn.Module],
    inputs: Inputs,
    seconds: float,
) -> Block:
    return {"ratios": _ratios(intact, without(gone), inputs, seconds)}


def _ratios(
    intact: nn.Module, short: nn.Module, inputs: Inputs, seconds: float
) -> NDArray[np.float32]:
    """Time of the intact over that of the shortened network, pair by pair."""
    ratios: list[float] = []
    with torch.inference_mode():
        for module in (intact, short):
            _seconds(module, inputs)  # warm-up: first calls allocate and choose kernels
        ends = time.perf_counter() + seconds
        while len(ratios) < FEWEST_PAIRS or (
            len(ratios) < MOST_PAIRS and time.perf_counter() < ends
        ):
            # A machine slows down as it warms up: whoever always ran second would look slower.
            if len(ratios) % 2:
                after, before = _seconds(short, inputs), _seconds(intact, inputs)
            else:
                before, after = _seconds(intact, inputs), _seconds(short, inputs)
            ratios.append(before / after)
    return np.array(ratios, dtype=np.float32)


def _seconds(module: nn.Module, inputs: Inputs) -> float:
    started = time.perf_counter()
    if isinstance(inputs, Tensor):
        output = module(inputs)
    else:
        output = module(**inputs) if isinstance(inputs, Mapping) else module(*inputs)
    for leaf in pytree.tree_leaves(output):
        if isinstance(leaf, Tensor) and leaf.device.type == "cuda":
            torch.cuda.synchronize(leaf.device)
    return time.perf_counter() - started
