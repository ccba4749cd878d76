"""The single-lesion sweep, resanalysis against the usual loop, in one process, in alternating pairs.

The usual loop: a forward hook zeroes the branch of one unit, the whole network runs on all images, once
for every unit and once intact. Prints both times, the ratio of each pair with its spread, whether every
prediction agrees, and the peak memory of each.

    python benchmarks/lesion.py [MODEL] [--data D --normalize N] [--pairs 5] [--batch-size 256]
"""

from __future__ import annotations

import argparse
import resource
import time
from statistics import mean, median, stdev

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from usual import zeroed

import resanalysis as ra
from resanalysis.routes.batches import chosen_batch_size


def usual_loop(
    model: nn.Module, branches: list[nn.Module], images: Tensor, labels: Tensor, batch_size: int
) -> NDArray[np.bool_]:
    """Wrong or right, (1 + units, N): one whole pass per unit."""
    rows: list[NDArray[np.bool_]] = []
    with torch.inference_mode():
        for branch in [None, *branches]:
            handle = None if branch is None else branch.register_forward_hook(zeroed)
            wrong = [
                (model(x).argmax(1) != y).numpy()
                for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True)
            ]
            if handle is not None:
                handle.remove()
            rows.append(np.concatenate(wrong))
    return np.stack(rows)


def last_of_branch(model: nn.Module, name: str) -> nn.Module:
    """The module whose output a CIFAR or torchvision ResNet adds to the skip."""
    unit = model.get_submodule(name)
    for last in ("bn3", "bn2" if not hasattr(model, "bn") else "conv2", "conv2"):
        if hasattr(unit, last):
            return getattr(unit, last)
    raise SystemExit(f"unit {name} is of no ResNet this benchmark knows")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="bundled:resnet56-fashion-mnist")
    parser.add_argument("--data", default="bundled:fashion-mnist-test")
    parser.add_argument("--normalize")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=256, help="of the usual loop")
    options = parser.parse_args()

    model = ra.load(options.model)
    data = ra.dataset(options.data, normalize=options.normalize, limit=options.limit)
    images, labels = data.batch(0, len(data))
    assert isinstance(images, Tensor)
    assert labels is not None
    network = ra.unravel(model, images[:2])
    routes = [ra.intact(network), *(ra.without(network, [u.index]) for u in network.units)]
    branches = [last_of_branch(model, unit.name) for unit in network.units]
    print(
        f"{options.model}: {len(network)} units, {len(data)} images, {torch.get_num_threads()} threads, "
        f"batches of {options.batch_size} (loop) and {chosen_batch_size(network, len(data))} (ours)"
    )
    ours, theirs, ratios = [], [], []
    for pair in range(options.pairs + 1):  # the first pair warms up
        started = time.perf_counter()
        found = ra.evaluate(network, routes, data).values["error"].astype(bool)
        between = time.perf_counter()
        expected = usual_loop(model, branches, images, labels, options.batch_size)
        finished = time.perf_counter()
        agree = bool(np.array_equal(found, expected))
        if pair:
            ours.append(between - started)
            theirs.append(finished - between)
            ratios.append(theirs[-1] / ours[-1])
            print(f"pair {pair}: loop {theirs[-1]:.2f} s, ours {ours[-1]:.2f} s, ratio {ratios[-1]:.2f}"
                  f", predictions {'identical' if agree else 'DIFFER'}")  # fmt: skip
    spread = f" ± {stdev(ratios):.2f}" if len(ratios) > 1 else ""
    print(
        f"ratio: median {median(ratios):.2f}, mean {mean(ratios):.2f}{spread} ({len(ratios)} pairs)"
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of the process: {peak:.0f} MiB")


if __name__ == "__main__":
    main()
