"""What a unit costs, with its branch and without: parameters, operations, and measured time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.utils._pytree as pytree
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from resanalysis.network import Inputs, ResidualNetwork, Side
from resanalysis.progress import progress_bar
from resanalysis.routes.evaluator import BlockStore
from resanalysis.routes.shortening import shortened
from resanalysis.statistics.intervals import Interval, bootstrap_quantile

FEWEST_PAIRS, MOST_PAIRS = 5, 40
Counts = NDArray[np.int64]
_Result = TypeVar("_Result")


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
    """Count parameters and floating-point operations, as ``inspect`` does: a multiply-add is two."""
    parameters = np.zeros((2, len(network)), dtype=np.int64)
    flops = np.zeros((2, len(network)), dtype=np.int64)
    elsewhere = 0
    with torch.no_grad():
        (h, side), count = _counted(lambda: network.enter(inputs))
        elsewhere, rows = count, len(h)
        taken: Side = ()
        for unit in network.units:
            taken = network.tapped(unit.index, h, taken)
            h, count = _counted(lambda h=h, i=unit.index: network.cross(i, h, side))
            elsewhere += count
            stays: Sequence[nn.Module] = (unit.skip, unit.join)
            if unit.deletable:
                _, count = _counted(lambda h=h, u=unit: u.without_branch(h, side))
                flops[1, unit.index] = count
            h, flops[0, unit.index] = _counted(lambda h=h, u=unit: u(h, side))
            if unit.skip_kind in ("gate", "none"):
                stays = (unit.join,) if unit.skip_kind == "gate" else ()
            parameters[:, unit.index] = unit.parameters, _parameters(stays)
        elsewhere += _counted(lambda: network.leave(h, (*side, *taken)))[1]
    return Costs(parameters, flops // rows, elsewhere // rows)


def _counted(run: Callable[[], _Result]) -> tuple[_Result, int]:
    with FlopCounterMode(display=False) as counter:
        result = run()
    return result, int(counter.get_total_flops())


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
    with progress_bar("timing", len(removals), show=show_progress) as advance:
        for gone in removals:
            key = f"time-{'.'.join(str(unit) for unit in gone)}"
            block = None if store is None else store.get(key)
            if block is None:
                short = shortened(network, gone)
                block = {"ratios": _ratios(intact, short, inputs, seconds / len(removals))}
                if store is not None:
                    store.put(key, block)
            result.append(bootstrap_quantile(block["ratios"], 0.5, seed=seed))
            advance(1)
    return result


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
