"""The gradient along every one of the 2ⁿ paths, by automatic differentiation of a detached network."""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from resanalysis.network import ResidualNetwork, run_piece

Paths = dict[tuple[int, ...], Tensor]


def path_gradients(network: ResidualNetwork, images: Tensor, labels: Tensor, at: str) -> Paths:
    """``{(0, 1, …): gradient}``: one whole forward and backward pass a path.

    Values are those of the intact network everywhere; the way a path does not take is detached, so that
    no derivative passes it.
    """
    skips = [unit.skip_kind != "none" for unit in network.units]
    return {
        bits: _one(network, images, labels, at, bits) for bits in product((0, 1), repeat=sum(skips))
    }


def _one(
    network: ResidualNetwork, images: Tensor, labels: Tensor, at: str, bits: tuple[int, ...]
) -> Tensor:
    start = images.clone().requires_grad_()
    h, side = network.enter(start)
    if at == "first-unit":
        start = h = h.detach().requires_grad_()
    left = list(bits)
    for unit in network.units:
        h, side = network.reach(unit.index, h, side)
        branch = run_piece(unit.branch, h, side)
        if unit.skip_kind == "none":
            h = branch
            continue
        skip = run_piece(unit.skip, h, side)
        taken = left.pop(0)
        total = skip.detach() + branch if taken else skip + branch.detach()
        h = run_piece(unit.join, total, side)
    loss = F.cross_entropy(network.leave(h, side), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, start, materialize_grads=True)
    return gradient


def whole_gradient(network: ResidualNetwork, images: Tensor, labels: Tensor, at: str) -> Tensor:
    """The ordinary gradient of the network itself."""
    if at == "input":
        start = images.clone().requires_grad_()
        output = network(start)
    else:
        h, side = network.enter(images)
        start = h = h.detach().requires_grad_()
        output = network.leave(*network.walk(h, side))
    loss = F.cross_entropy(output, labels, reduction="sum")
    return torch.autograd.grad(loss, start)[0]


def by_length(paths: Paths) -> list[Tensor]:
    """Sums of the gradients over all paths of each length."""
    n = len(next(iter(paths)))
    zero = torch.zeros_like(next(iter(paths.values())))
    return [sum((g for bits, g in paths.items() if sum(bits) == k), zero) for k in range(n + 1)]
