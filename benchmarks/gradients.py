"""Gradients by path length against ordinary backward passes: ratios, measured alternating in one process.

    python benchmarks/gradients.py [--depth 56] [--images 16] [--rounds 5]

Times vary with the machine's load; each round measures all of them one after the other, and only ratios
within a round are reported, as median (smallest to largest). The network is a CIFAR ResNet with random
weights: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from usual import seconds

import resanalysis as ra
from resanalysis.models.cifar_resnet import CifarResNet
from resanalysis.path_gradients import (
    Tape,
    draw_signs,
    draw_subsets,
    freeze,
    length_sums,
    path_norms,
    random_sign_squares,
    record,
    unit_shares,
)

SAMPLES = 64


def plain_sums(tape: Tape) -> list[Tensor]:
    """The recursion as first written: every length through every unit, also those that are still zero."""
    zero = torch.zeros_like(tape.cotangent)
    sums = [tape.cotangent, *(zero for _ in range(tape.residual))]
    for link in reversed(tape.links):
        assert link.skip is not None
        sums = link.join.pull(sums)
        taken = link.branch.pull(sums)
        through = link.skip.pull(sums)
        sums = [through[0], *(s + t for s, t in zip(through[1:], taken[:-1], strict=True))]
    assert tape.stem is not None
    return tape.stem.pull(sums)


def paper_samples(model: nn.Module, images: Tensor, labels: Tensor, masks: np.ndarray) -> None:
    """One forward and one backward pass a sample; what is not on the path is detached."""
    blocks = [block for stage in (model.layer1, model.layer2, model.layer3) for block in stage]
    for mask in masks:
        start = images.clone().requires_grad_()
        h = F.relu(model.bn1(model.conv1(start)))
        for block, taken in zip(blocks, mask, strict=True):
            branch = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(h)))))
            skip = block.shortcut(h)
            h = F.relu(branch + skip.detach() if taken else branch.detach() + skip)
        loss = F.cross_entropy(model.linear(h.mean((2, 3))), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, start)
        gradient.flatten(1).norm(dim=1)


def show(what: str, ratios: list[float], note: str = "") -> None:
    spread = f"{statistics.median(ratios):6.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"{what:58} {spread}  {note}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--depth", type=int, default=56)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = CifarResNet(options.depth).eval().requires_grad_(False)
    images = torch.randn(options.images, 3, 32, 32)
    labels = torch.randint(10, (options.images,))
    network = freeze(ra.unravel(model, images))
    n = len(network)
    start = images.clone().requires_grad_()
    loss = F.cross_entropy(model(start), labels, reduction="sum")
    tape = record(network, images, labels)
    masks = draw_subsets(n, n // 2, SAMPLES, seed=0)
    signs = draw_signs(n, 1, options.images, seed=0)

    def backward() -> None:
        torch.autograd.grad(loss, start, retain_graph=True)

    work: dict[str, Callable[[], object]] = {
        "exact": lambda: length_sums(tape),
        "stacked": lambda: length_sums(record(network, images, labels, at_once=8)),
        "plain": lambda: plain_sums(tape),
        "rms": lambda: random_sign_squares(tape, signs),
        "units": lambda: unit_shares(tape),
        "sampled": lambda: path_norms(tape, masks),
        "paper": lambda: paper_samples(model, images, labels, masks[:8]),
    }
    for once in (backward, *work.values()):
        once()
    times: dict[str, list[float]] = {name: [] for name in ("backward", *work)}
    for _ in range(options.rounds):
        for name, doing in work.items():
            # An ordinary pass before and after each: both see the same load.
            before = [seconds(backward) for _ in range(2)]
            taken = seconds(doing)
            after = [seconds(backward) for _ in range(2)]
            times["backward"].append(statistics.median(before + after))
            times[name].append(taken / times["backward"][-1])
    print(
        f"ResNet-{options.depth}, {n} units, {options.images} images, {options.threads} thread(s), "
        f"{options.rounds} rounds; one input-gradient backward pass takes "
        f"{1e3 * statistics.median(times['backward']):.0f} ms"
    )
    print("in units of that pass: median (smallest to largest)")
    floor = n / 2
    note = f"{statistics.median(times['exact']) / floor:.2f} x the floor n/2 = {floor:g}"
    show("exact sums of all lengths", times["exact"], note)
    show("  the same with vmapped cotangents, and its forward pass", times["stacked"])
    show("  a plain loop over all lengths and units", times["plain"])
    show("random signs, one repetition", times["rms"])
    show("shares by unit and length", times["units"])
    show(f"one sampled path of length {n // 2}", [t / SAMPLES for t in times["sampled"]])
    show("  as in the paper, forward and backward", [t / 8 for t in times["paper"]])
    gain = [(p / 8) / (s / SAMPLES) for p, s in zip(times["paper"], times["sampled"], strict=True)]
    show("samples per time, against the paper's way", gain)


if __name__ == "__main__":
    main()
