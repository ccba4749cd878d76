"""One table: what a study asks for, by resanalysis and by the usual loop, in one process, in pairs.

The usual loop (``usual.py``) changes the network for each route (a forward hook zeroes a branch, or blocks
change places) and runs all of it on all images, at the best of several batch sizes. Both give predictions,
norms or deviations, which must be the same. ``floor`` is the share of our time that must be spent by anyone
who shares prefixes: unit evaluations of the routes' prefix tree × the time of one, measured with nothing else
going on in the process. Exact gradients have no usual way; beside them stand the paper's samples, ten a
length. With nnsight installed (the extra "bench"), the single lesions are made with it too.

Routes by the hundred run on an eighth of the images. A pair of over a minute is not repeated.

    python benchmarks/table.py [MODEL] [--images 256] [--pairs 3] [--threads 1] [--only lesion,reorder]
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from usual import Predictions, UsualLoop, seconds

import resanalysis as ra
from resanalysis.datasets import Dataset
from resanalysis.network import ResidualNetwork
from resanalysis.path_gradients import Tape, draw_subsets, freeze, length_sums, path_norms, record
from resanalysis.routes.forward_only import forward_only
from resanalysis.routes.rearranged import middle, movable_runs, rearrangements
from resanalysis.routes.route import Full, Route, placed
from resanalysis.routes.subsets import nested_subsets
from resanalysis.routes.tree import PrefixTree

LONG = 60.0
"""Seconds of a pair from which on it is not repeated."""
FEW = 8
"""Of how many images one is taken for routes by the hundred."""
SAMPLES = 10
"""Paths of each length, as the usual way samples them."""


@dataclass(frozen=True)
class Job:
    """What both sides do.

    Attributes
    ----------
    ours, usual : the work; what they return is compared, where both are the same number.
    floor : seconds that must be spent by ours; 0 where there is no such measure.
    """

    name: str
    ours: Callable[[], NDArray[np.generic]]
    usual: Callable[[], NDArray[np.generic]]
    floor: float = 0.0
    comparable: bool = True


@dataclass(frozen=True)
class Subject:
    """A network, some images, the same in a loop, and the seconds of one unit on all of them."""

    network: ResidualNetwork
    model: nn.Module
    data: Dataset
    loop: UsualLoop
    labels: Tensor
    of_unit: float

    @staticmethod
    def of(network: ResidualNetwork, model: nn.Module, data: Dataset) -> Subject:
        images, labels = data.batch(0, len(data))
        assert isinstance(images, Tensor)
        assert labels is not None
        prepared = forward_only(network)
        intact = [ra.intact(prepared)]
        # The intact network runs once more, as what routes are compared with.
        once = min(seconds(lambda: ra.evaluate(prepared, intact, data, fast=False)) for _ in "1234")
        of_unit = once / 2 / len(network)
        return Subject(network, model, data, UsualLoop(model, images), labels, of_unit)


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
    name: str, subject: Subject, routes: Sequence[Route], usual: Callable[[], Sequence[Predictions]]
) -> Job:
    def ours() -> NDArray[np.generic]:
        return ra.evaluate(subject.network, routes, subject.data).values["error"].astype(bool)

    right = subject.labels.numpy()
    return Job(
        f"{name}, {len(subject.data)} images", ours, lambda: np.stack(usual()) != right,
        evaluations(routes) * subject.of_unit,
    )  # fmt: skip


def jobs(subject: Subject, few: Subject, draws: int, orders: int) -> list[Job]:
    """The experiments of a study."""
    network, loop = subject.network, subject.loop
    n = len(network)
    single = [(), *((unit,) for unit in range(n))]
    random = np.random.default_rng(0)
    many = [one.units for one in nested_subsets(range(n), range(1, min(21, n)), draws, random)]
    runs = movable_runs(network)
    spans = [middle(runs, kept) for kept in (1, 2, 3)]
    swapped = rearrangements(
        network, ["swap", "shuffle"], spans[1:2], runs, draws=orders, loops=1, seed=0
    )
    altered = rearrangements(
        network, ["reverse", "repeat", "shuffle"], spans, runs, draws=3, loops=1, seed=0
    )
    found = [
        of_routes(f"lesion: {what}", on, [ra.without(network, gone) for gone in removals],
                  lambda on=on, removals=removals: [on.loop.deleted(gone) for gone in removals])
        for what, on, removals in (("each unit", subject, single), (f"{draws} draws × 20 sizes", few, many))
    ]  # fmt: skip
    if importlib.util.find_spec("nnsight") is not None:
        found.insert(1, nnsight_job(subject))
    for name, on, given in (
        ("reorder", few, [one.order for one in swapped if one.order is not None][:orders]),
        ("rearrange", subject, [one.order for one in altered if one.order is not None]),
    ):
        found.append(
            of_routes(f"{name}: {len(given)} orders", on, [placed(network, order) for order in given],
                      lambda on=on, given=given: [on.loop.placed(order) for order in given])
        )  # fmt: skip
    found.append(greedy_job(subject))
    found += gradient_jobs(few)
    found.append(
        Job(
            f"response: 3×3 layers, {len(subject.data)} images",
            lambda: ra.response(subject.model, subject.data)["std"].to_numpy(),
            loop.deviations,
            subject.of_unit * n,
        )
    )
    return found


def greedy_job(subject: Subject) -> Job:
    """The first four units to go, by the error; ties go to the earlier unit."""
    network, right = subject.network, subject.labels.numpy()
    steps = 4

    def search(errors: Callable[[list[list[int]]], NDArray[np.float64]]) -> NDArray[np.int64]:
        gone: list[int] = []
        for _ in range(steps):
            left = [unit for unit in range(len(network)) if unit not in gone]
            gone.append(left[int(errors([[*gone, unit] for unit in left]).argmin())])
        return np.array(gone)

    def ours(removals: list[list[int]]) -> NDArray[np.float64]:
        routes = [ra.without(network, gone) for gone in removals]
        return ra.evaluate(network, routes, subject.data).mean("error")

    def usual(removals: list[list[int]]) -> NDArray[np.float64]:
        return np.array([(subject.loop.deleted(gone) != right).mean() for gone in removals])

    return Job(
        f"prune: greedy, {steps} units, {len(subject.data)} images",
        lambda: search(ours), lambda: search(usual),
    )  # fmt: skip


def gradient_jobs(subject: Subject) -> list[Job]:
    """Paths of half the units, sampled by both; and the exact sums of all lengths."""
    network = freeze(subject.network)
    n = len(network)
    images = subject.loop.images

    def recorded() -> Tape:
        return record(network, images, subject.labels)

    masks = draw_subsets(n, n // 2, 64, seed=0)
    lengths = np.concatenate([draw_subsets(n, length, SAMPLES, seed=0) for length in range(n + 1)])
    start = images.clone().requires_grad_()
    loss = F.cross_entropy(subject.model(start), subject.labels, reduction="sum")
    backward = min(
        seconds(lambda: torch.autograd.grad(loss, start, retain_graph=True)) for _ in "1234"
    )

    return [
        Job(
            f"gradients: {len(masks)} sampled paths, {len(images)} images",
            lambda: path_norms(recorded(), masks).numpy(),
            lambda: subject.loop.path_norms(subject.labels, masks),
        ),
        Job(
            f"gradients: exact, all lengths, {len(images)} images",
            lambda: np.array([float(total.norm()) for total in length_sums(recorded())]),
            lambda: subject.loop.path_norms(subject.labels, lengths),
            n / 2 * backward,
            comparable=False,
        ),
    ]  # fmt: skip


def nnsight_job(subject: Subject) -> Job:
    """Single lesions; the other side is a trace of nnsight for each unit."""
    from nnsight import NNsight  # pyright: ignore[reportMissingImports]

    network, loop = subject.network, subject.loop
    wrapped: Any = NNsight(subject.model)
    lasts: list[Any] = [wrapped for _ in network.units]
    for unit in network.units:
        for part in f"{unit.name}.conv2".split("."):
            lasts[unit.index] = (
                lasts[unit.index][int(part)] if part.isdigit() else getattr(lasts[unit.index], part)
            )

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

    return of_routes(
        "lesion: each unit, nnsight", subject,
        [ra.intact(network), *(ra.without(network, [unit.index]) for unit in network.units)],
        lambda: [lesioned(unit) for unit in (None, *range(len(network)))],
    )  # fmt: skip


def with_peak(
    work: Callable[[], NDArray[np.generic]],
) -> tuple[NDArray[np.generic], float, int]:
    """What it returns, its seconds, and the largest memory of the process meanwhile, in MiB (on Linux)."""
    reset, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if reset.exists():
        reset.write_text("5")
    started = time.perf_counter()
    found = work()
    taken = time.perf_counter() - started
    words = status.read_text().split() if status.exists() else []
    return found, taken, int(words[words.index("VmHWM:") + 1]) // 1024 if words else 0


def machine_rate() -> float:
    """Operations a second of a product of two matrices of 1024 × 1024, in 10⁹."""
    a = torch.randn(1024, 1024)
    return 2 * 1024**3 / min(seconds(lambda: a @ a) for _ in range(10)) / 1e9


def row(job: Job, pairs: int) -> str:
    """Both sides once, compared; then in pairs."""
    expected, usual, usual_peak = with_peak(job.usual)
    found, ours, our_peak = with_peak(job.ours)
    times = [(usual, ours)]
    if usual + ours < LONG:  # else the first pair, which also warms up, is the measure
        times = [(seconds(job.usual), seconds(job.ours)) for _ in range(pairs)]
    ratios = [usual / ours for usual, ours in times]
    usual, ours = (median(side) for side in zip(*times, strict=True))
    answers = "not the same question"
    if job.comparable:
        answers = "the same" if np.allclose(found, expected, rtol=1e-3) else "DIFFER"
    spread = f"{median(ratios):.2f}"
    spread += f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else " (one pair)"
    floor = f"{job.floor / ours:.0%}" if job.floor else ""
    return (
        f"{job.name:45}{usual:8.2f} s{ours:8.2f} s  {spread:24}{floor:>6}"
        f"{usual_peak:>8}{our_peak:>6}  {answers}"
    )


def main() -> None:
    """Read the command line, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="bundled:resnet56-fashion-mnist")
    parser.add_argument("--data", default="bundled:fashion-mnist-test")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--draws", type=int, default=100, help="of deletions of 1 to 20 units")
    parser.add_argument("--orders", type=int, default=500)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="jobs whose names begin so, separated by commas")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = ra.load(options.model).requires_grad_(False)
    data = ra.dataset(options.data, limit=options.images)
    network = ra.unravel(model, data.batch(0, 2)[0])
    few = ra.dataset(options.data, limit=max(1, options.images // FEW))
    subject, small = (Subject.of(network, model, images) for images in (data, few))
    with FlopCounterMode(display=False) as counter:
        model(subject.loop.images[:1])
    n = len(network)
    rate = counter.get_total_flops() * len(data) / (subject.of_unit * n) / 1e9
    print(
        f"{options.model}: {n} units, {len(data)} images, {options.threads} thread(s)\n"
        f"a pass of all images: {subject.of_unit * n:.2f} s, {rate:.0f} of the machine's {machine_rate():.0f} "
        f"GFLOP/s; the usual loop takes {subject.loop.batch_size} images at a time"
    )
    print(
        f"{'':45}{'usual':>10}{'ours':>10}  {'usual / ours (range)':24}{'floor':>6}{'peak, MiB':>14}"
    )
    for job in jobs(subject, small, options.draws, options.orders):
        if job.name.startswith(tuple(options.only.split(","))):
            print(row(job, options.pairs), flush=True)


if __name__ == "__main__":
    main()
