"""What a unit costs, with its branch and without: parameters, operations, and measured time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from resanalysis.statistics.intervals import Interval, bootstrap_quantile

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
    with torch.no_grad(), FlopCounterMode(display=False) as counter:

        def counted(
            run: Callable[[Tensor, Side], Tensor], h: Tensor, side: Side
        ) -> tuple[Any, int]:
            before = counter.get_total_flops()
            return run(h, side), counter.get_total_flops() - before

        def step(unit: ResidualUnit, h: Tensor, side: Side) -> Tensor:
            after, flops[0, unit.index] = counted(unit, h, side)
            if unit.deletable:
                flops[1, unit.index] = counted(unit.without_branch, h, side)[1]
            return after

        h, side = network.walk(*network.enter(inputs), step)
        network.leave(h, side)
    for unit in network.units:
        parameters[:, unit.index] = unit.parameters, _parameters(_left_of(unit))
    elsewhere = counter.get_total_flops() - int(flops.sum())
    return Costs(parameters, flops // len(h), elsewhere // len(h))


def unit_operations(network: ResidualNetwork, example: Inputs | None = None) -> list[int | None]:
    """Floating-point operations of each unit for one example; ``None`` where they cannot be counted.

    Parameters
    ----------
    example : left out, each unit runs on a stream of zeros, which one that reads side inputs cannot.
    """
    if example is not None:
        return [int(count) for count in unit_costs(network, example).flops[0]]
    return [_of_zeros(network, unit) for unit in network.units]


def _of_zeros(network: ResidualNetwork, unit: ResidualUnit) -> int | None:
    if any(isinstance(piece, Piece) and piece.reads for piece in unit.modules().values()):
        return None
    rows = network.batch_size or 1
    stream = torch.zeros(rows, *unit.in_shape, dtype=network.float_type, device=network.device)
    alone = replace(
        network, stem=nn.Identity(), units=(replace(unit, index=0),), head=nn.Identity(),
        bridges=(None,), taps=(),
    )  # fmt: skip
    return int(unit_costs(alone, stream).flops[0, 0])


def _left_of(unit: ResidualUnit) -> Sequence[nn.Module]:
    """The parts that stay of a unit without its branch."""
    if unit.skip_kind == "none":
        return ()
    return (unit.join,) if unit.skip_kind == "gate" else (unit.skip, unit.join)


def _parameters(parts: Iterable[nn.Module]) -> int:
    found = {tensor.data_ptr(): tensor for part in parts for tensor in part.parameters()}
    return sum(tensor.numel() for tensor in found.values())


def speed_ups(
    network: ResidualNetwork,
    removals: Sequence[tuple[int, ...]],
    inputs: Inputs,
    *,
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
    seconds : for all of them; each gets its share, but at least five pairs.
    """
    result: list[Interval] = []
    intact = shortened(network, ())
    share = seconds / max(1, len(removals))
    with progress_bar("timing", len(removals), show=show_progress) as advance:
        for gone in removals:
            key = f"time-{'.'.join(str(unit) for unit in gone)}"
            block = kept(store, key, partial(_timed, network, gone, intact, inputs, share))
            result.append(bootstrap_quantile(block["ratios"], 0.5, seed=seed))
            advance(1)
    return result


def _timed(
    network: ResidualNetwork,
    gone: tuple[int, ...],
    intact: nn.Module,
    inputs: Inputs,
    seconds: float,
) -> Block:
    return {"ratios": _ratios(intact, shortened(network, gone), inputs, seconds)}


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
