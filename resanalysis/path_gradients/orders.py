"""The output as a sum over path lengths: what a factor λ of all branches multiplies by 1, λ, λ², …"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from resanalysis.network import Inputs, ResidualNetwork, Side
from resanalysis.path_gradients.tape import Link, Recorded, Tape


def output_orders(
    network: ResidualNetwork, tape: Tape, inputs: Inputs, *, max_length: int | None = None
) -> Tensor:
    """The parts of the logits that pass exactly k branches, for k = 0…n; they sum to the logits.

    Every part of the network is replaced by its tangent at the intact pass, ``f(x) + J (h − x)``: with ReLUs
    that is the network itself as long as none of them switches. With all branches multiplied by λ its output
    is a polynomial in λ, and its coefficient of degree k is the sum over all paths of length k. A stream is
    carried as its coefficients; a constant that a branch adds has passed that branch alone. n(n+1)/2 Jacobian
    products of branches in all, as ``length_sums`` takes backwards.

    Parameters
    ----------
    network : from ``freeze``; ``tape`` recorded a pass of it with these inputs.
    max_length : longer paths are left out.

    Returns
    -------
    Tensor : (n + 1, N, …), the shape of the logits behind the first axis; in double precision.
    """
    last = tape.residual if max_length is None else min(max_length, tape.residual)
    with torch.no_grad():
        h, side = network.enter(inputs)
    orders = h.detach()[None]
    for link in tape.links:
        orders = _past(link, orders)[: last + 1]
    return _head(network, orders, tape.links[-1].join.end.detach(), side).double()


def _past(link: Link, orders: Tensor) -> Tensor:
    """The stream's coefficients behind a unit, from those before it."""
    if link.bridge is not None:
        orders = _tangent(link.bridge, orders)
    through = _tangent(link.branch, orders)
    if link.skip is not None:
        shifted = torch.cat([torch.zeros_like(through[:1]), through])
        # Degree k behind the unit: degree k through the skip, and k − 1 through the branch.
        shifted[:-1] += _tangent(link.skip, orders)
        through = shifted
    return _tangent(link.join, through)


def _tangent(part: Recorded, orders: Tensor) -> Tensor:
    """The tangent of a part: its Jacobian on every coefficient, its constant in the first."""
    pushed = part.push(orders)
    # All coefficients together are the point of the tangent only while none is left out.
    constant = part.end.detach() - part.push(part.start.detach()[None])[0]
    return torch.cat([pushed[:1] + constant, pushed[1:]])


def _head(network: ResidualNetwork, orders: Tensor, end: Tensor, side: Side) -> Tensor:
    """The head's tangent at the intact stream."""
    run = partial(_leave, network, side)
    return _tangent(Recorded(run, end, run(end)), orders)


def _leave(network: ResidualNetwork, side: Side, h: Tensor) -> Tensor:
    return network.leave(h, side)
