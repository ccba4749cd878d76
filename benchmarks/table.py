"""One table: what a study asks for, by resanalysis and by the usual loop, in one process, in pairs.

The usual loop changes the network for each route (a forward hook zeroes a branch, or blocks change places)
and runs all of it on all images, at the best of several batch sizes. Both give predictions, which must be
the same. ``floor`` is the share of our time that must be spent by anyone who shares prefixes: unit
evaluations of the routes' prefix tree × the time of one, measured with nothing else going on in the process.
With nnsight installed (the extra "bench"), the single lesions are made with it too. Gradients have a
benchmark of their own; responses are one pass either way.

    python benchmarks/table.py [MODEL] [--images 256] [--pairs 3] [--threads 1] [--only lesion,reorder]
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import resanalysis as ra
from resanalysis.datasets import Dataset
from resanalysis.network import ResidualNetwork
from resanalysis.routes.forward_only import forward_only
from resanalysis.routes.rearranged import middle, movable_runs, rearrangements
from resanalysis.routes.route import Full, Route, placed
from resanalysis.routes.subsets import nested_subsets
from resanalysis.routes.tree import PrefixTree

SIZES = (32, 64, 128, 256)
Predictions = NDArray[np.int64]


@dataclass(frozen=True)
class Job:
    """What both sides do.

    Attributes
    ----------
    ours, usual : the work; what they return is compared.
    evaluations : of units that must happen for each image, prefixes shared; 0 where that is not the measure.
    """

    name: str
    ours: Callable[[], NDArray[np.generic]]
    usual: Callable[[], NDArray[np.generic]]
    evaluations: int = 0


def zero(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
    return torch.zeros_like(output)


def last_of_branch(unit: nn.Module) -> nn.Module:
    """What a pre-activation block adds to its skip is the output of its last convolution."""
    return unit.get_submodule("conv3" if hasattr(unit, "conv3") else "conv2")


class UsualLoop:
    """Whole passes: hooks for deletions, a list of blocks in another order for the rest."""

    def __init__(self, model: nn.Module, network: ResidualNetwork, images: Tensor) -> None:
        self.model, self.images = model, images
        self.blocks = [model.get_submodule(unit.name) for unit in network.units]
        self.batch_size = min(SIZES, key=lambda size: self._seconds(size))

    def _seconds(self, size: int) -> float:
        times: list[float] = []
        with torch.inference_mode():
            for _ in range(3):
                started = time.perf_counter()
                for x in self.images.split(size):
                    self.model(x)
                times.append(time.perf_counter() - started)
        return min(times)

    def deleted(self, gone: Sequence[int]) -> Predictions:
        with ExitStack() as hooks, torch.inference_mode():
            for unit in gone:
                handle = last_of_branch(self.blocks[unit]).register_forward_hook(zero)
                hooks.callback(handle.remove)
            return self._predicted(self.model)

    def placed(self, order: Sequence[int]) -> Predictions:
        """Block ``order[i]`` runs at position i."""

        def run(x: Tensor) -> Tensor:
            h = self.model.get_submodule("conv1")(x)
            for unit in order:
                h = self.blocks[unit](h)
            h = F.relu(self.model.get_submodule("bn")(h))
            return self.model.get_submodule("linear")(h.mean((2, 3)))

        with torch.inference_mode():
            return self._predicted(run)

    def _predicted(self, run: Callable[[Tensor], Tensor]) -> Predictions:
        parts = [run(x).argmax(1) for x in self.images.split(self.batch_size)]
        return torch.cat(parts).numpy()


def evaluations(routes: Sequence[Route]) -> int:
    """Units that run for each image, common beginnings once."""
    waiting = [PrefixTree.of(list(enumerate(routes)))]
    count = 0
    while waiting:
        node = waiting.pop()
        count += sum(isinstance(step, Full) for step in node.children)
        waiting.extend(node.children.values())
    return count


def of_routes(
    name: str,
    routes: Sequence[Route],
    network: ResidualNetwork,
    data: Dataset,
    usual: Callable[[], Sequence[Predictions]],
) -> Job:
    def ours() -> NDArray[np.generic]:
        return ra.evaluate(network, routes, data).values["error"].astype(bool)

    labels = data.batch(0, len(data))[1]
    assert labels is not None
    return Job(name, ours, lambda: np.stack(usual()) != labels.numpy(), evaluations(routes))


def jobs(network: ResidualNetwork, model: nn.Module, data: Dataset) -> list[Job]:
    """The experiments of a study, smaller where only the number of routes differs."""
    images = data.batch(0, len(data))[0]
    assert isinstance(images, Tensor)
    loop = UsualLoop(model, network, images)
    n = len(network)
    single = [(), *((unit,) for unit in range(n))]
    random = np.random.default_rng(0)
    sizes = range(1, min(21, n))
    many = [subset.units for subset in nested_subsets(range(n), sizes, 5, random)]
    runs = movable_runs(network)
    spans = [middle(runs, kept) for kept in (1, 2, 3)]
    swapped = rearrangements(
        network, ["swap", "shuffle"], spans[1:2], runs, draws=40, loops=1, seed=0
    )
    altered = rearrangements(
        network, ["reverse", "repeat", "shuffle"], spans, runs, draws=3, loops=1, seed=0
    )
    orders = {
        name: [one.order for one in given if one.order is not None]
        for name, given in (("reorder", swapped), ("rearrange", altered))
    }
    found = [
        of_routes(name, [ra.without(network, gone) for gone in removals], network, data,
                  lambda removals=removals: [loop.deleted(gone) for gone in removals])
        for name, removals in (("lesion: each unit", single), ("lesion: 5 × 20 sizes", many))
    ]  # fmt: skip
    found += [
        of_routes(f"{name}: {len(given)} orders", [placed(network, order) for order in given], network, data,
                  lambda given=given: [loop.placed(order) for order in given])
        for name, given in orders.items()
    ]  # fmt: skip
    found.append(greedy_job(network, loop, data))
    if importlib.util.find_spec("nnsight") is not None:
        found.append(nnsight_job(network, model, loop, data))
    return found


def greedy_job(network: ResidualNetwork, loop: UsualLoop, data: Dataset) -> Job:
    """The first four units to go, by the error; ties go to the earlier unit."""
    labels = data.batch(0, len(data))[1]
    assert labels is not None
    right = labels.numpy()
    steps = 4

    def search(errors: Callable[[list[list[int]]], NDArray[np.float64]]) -> NDArray[np.int64]:
        gone: list[int] = []
        for _ in range(steps):
            left = [unit for unit in range(len(network)) if unit not in gone]
            gone.append(left[int(errors([[*gone, unit] for unit in left]).argmin())])
        return np.array(gone)

    def ours(removals: list[list[int]]) -> NDArray[np.float64]:
        routes = [ra.without(network, gone) for gone in removals]
        return ra.evaluate(network, routes, data).mean("error")

    def usual(removals: list[list[int]]) -> NDArray[np.float64]:
        return np.array([(loop.deleted(gone) != right).mean() for gone in removals])

    return Job(f"prune: greedy, {steps} units", lambda: search(ours), lambda: search(usual))


def nnsight_job(network: ResidualNetwork, model: nn.Module, loop: UsualLoop, data: Dataset) -> Job:
    """Single lesions; the other side is a trace of nnsight for each unit."""
    from nnsight import NNsight  # pyright: ignore[reportMissingImports]

    wrapped: Any = NNsight(model)
    lasts: list[Any] = [wrapped for _ in network.units]
    for unit in network.units:
        for part in f"{unit.name}.conv2".split("."):
            lasts[unit.index] = (
                lasts[unit.index][int(part)] if part.isdigit() else getattr(lasts[unit.index], part)
            )
    labels = data.batch(0, len(data))[1]
    assert labels is not None

    def lesioned(unit: int | None) -> Predictions:
        parts: list[Tensor] = []
        with torch.inference_mode():
            for x in loop.images.split(loop.batch_size):
                with wrapped.trace(x):
                    if unit is not None:
                        last = lasts[unit]
                        last.output = torch.zeros_like(last.output)
                    logits = wrapped.output.save()
                parts.append(logits.argmax(1))  # pyright: ignore[reportPossiblyUnboundVariable]
        return torch.cat(parts).numpy()

    one = of_routes(
        "", [ra.intact(network), *(ra.without(network, [unit.index]) for unit in network.units)],
        network, data, lambda: [lesioned(unit) for unit in (None, *range(len(network)))],
    )  # fmt: skip
    return Job("lesion: each unit, nnsight", one.ours, one.usual, one.evaluations)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def machine_rate() -> float:
    """Operations a second of a product of two matrices of 1024 × 1024, in 10⁹."""
    a = torch.randn(1024, 1024)
    return 2 * 1024**3 / min(seconds(lambda: a @ a) for _ in range(10)) / 1e9


def main() -> None:
    """Read the command line, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="bundled:resnet56-fashion-mnist")
    parser.add_argument("--data", default="bundled:fashion-mnist-test")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="jobs whose names begin so, separated by commas")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = ra.load(options.model)
    if not hasattr(model, "bn"):
        raise SystemExit(
            "the usual loop is written out for pre-activation networks of three stages"
        )
    data = ra.dataset(options.data, limit=options.images)
    images = data.batch(0, len(data))[0]
    assert isinstance(images, Tensor)
    network = ra.unravel(model, images[:2])
    with FlopCounterMode(display=False) as counter:
        model(images[:1])
    of_unit = counter.get_total_flops() / len(network)
    prepared = forward_only(network)
    intact = [ra.intact(prepared)]
    # The intact network runs once more, as what routes are compared with.
    once = (
        min(seconds(lambda: ra.evaluate(prepared, intact, data, fast=False)) for _ in range(4)) / 2
    )
    reached = of_unit * len(network) * len(data) / once / 1e9
    print(
        f"{options.model}: {len(network)} units, {len(data)} images, {options.threads} thread(s)\n"
        f"a pass of all images: {once:.2f} s, {reached:.0f} of the machine's {machine_rate():.0f} GFLOP/s"
    )
    print(f"{'':34}{'usual':>8}{'ours':>8}   ratio: median (range)     floor  answers")
    for job in jobs(network, model, data):
        if options.only and not job.name.startswith(tuple(options.only.split(","))):
            continue
        same = np.allclose(job.ours(), job.usual(), rtol=1e-4)  # warms up, too
        pairs = [(seconds(job.usual), seconds(job.ours)) for _ in range(options.pairs)]
        ratios = [usual / ours for usual, ours in pairs]
        usual, ours = (median(times) for times in zip(*pairs, strict=True))
        floor = job.evaluations * once / len(network) / ours
        spread = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        share = f"{floor:.0%}" if job.evaluations else ""
        print(
            f"{job.name:34}{usual:7.2f} s{ours:6.2f} s   {spread:24}{share:>7}"
            f"  {'the same' if same else 'DIFFER'}"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of the process: {peak:.0f} MiB")


if __name__ == "__main__":
    main()
