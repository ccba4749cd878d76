"""One forward pass of the intact network, recorded part by part, so that each can be differentiated alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from resanalysis.errors import ResanalysisError
from resanalysis.network import Inputs, ResidualNetwork, Side, run_piece
from resanalysis.routes.arithmetic import check_not_bf16
from resanalysis.routes.loss import loss_gradient, rescaled

At = Literal["input", "first-unit"]
"""Where gradients are measured: at the model's input, or at the stream before the first unit."""


@dataclass(frozen=True, eq=False)
class Recorded:
    """A part of the network at the point where it was run.

    Attributes
    ----------
    run : what ran; ``None`` where it changes nothing.
    start : what entered it, a leaf.
    end : what left it.
    at_once : cotangents per vectorised sweep; 0 takes them one after the other.
    """

    run: Callable[[Tensor], Tensor] | None
    start: Tensor
    end: Tensor
    at_once: int = 0

    def pull(self, cotangents: Sequence[Tensor]) -> list[Tensor]:
        """Transposed Jacobian times each cotangent.

        On a CPU one sweep per cotangent is as fast as any stacking, because images fill a batch already.

        Parameters
        ----------
        cotangents : each of the shape of ``end``.

        Returns
        -------
        list : as many tensors of the shape of ``start``.
        """
        if self.end is self.start:
            return list(cotangents)
        # A part of constants, such as a branch that was taken out, has no graph to go back through.
        if not self.end.requires_grad:
            return [torch.zeros_like(self.start) for _ in cotangents]
        if not self.at_once or len(cotangents) == 1:
            return [self._grad(cotangent) for cotangent in cotangents]
        pulled: list[Tensor] = []
        for first in range(0, len(cotangents), self.at_once):
            stacked = torch.stack(list(cotangents[first : first + self.at_once]))
            pulled += self._grad(stacked, batched=True).unbind()
        return pulled

    def push(self, tangents: Tensor) -> Tensor:
        """Jacobian times each tangent.

        Parameters
        ----------
        tangents : (K, …), each of the shape of ``start``.

        Returns
        -------
        Tensor : (K, …), each of the shape of ``end``.
        """
        run = self.run
        if run is None:
            return tangents

        def along(tangent: Tensor) -> Tensor:
            # Nothing is recorded for this direction: the part runs again at the same point, with a dual number.
            return torch.func.jvp(run, (self.start.detach(),), (tangent,))[1]

        # The fused attention kernels have no forward derivative.
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            return torch.func.vmap(along, chunk_size=self.at_once or 8)(tangents)

    def _grad(self, cotangent: Tensor, batched: bool = False) -> Tensor:
        return torch.autograd.grad(
            self.end,
            self.start,
            cotangent,
            retain_graph=True,
            is_grads_batched=batched,
            materialize_grads=True,
        )[0]


@dataclass(frozen=True, eq=False)
class Link:
    """A unit on the tape.

    Attributes
    ----------
    unit : its position in the chain.
    number : its position among the units with a skip.
    bridge : what runs before it, if anything does.
    skip : ``None`` for a layer of a plain network, which every path passes.
    """

    unit: int
    number: int
    bridge: Recorded | None
    skip: Recorded | None
    branch: Recorded
    join: Recorded


Split = Callable[[Link, list[Tensor]], list[Tensor]]
"""What a backward sweep does at a unit with a skip: from the cotangents of the sum to those of the stream."""


@dataclass(frozen=True, eq=False)
class Tape:
    """The recorded pass.

    Attributes
    ----------
    stem : ``None`` where gradients are measured before the first unit.
    links : the chain.
    cotangent : gradient of each example's loss at the stream after the last unit, divided by ``scale``.
    scale : (N,) of float64, powers of two: tiny gradients of confident predictions keep their precision.
    losses : (N,) cross-entropy, nats.
    """

    stem: Recorded | None
    links: tuple[Link, ...]
    cotangent: Tensor
    scale: Tensor
    losses: Tensor

    @property
    def residual(self) -> int:
        """Number of units with a skip: n of the 2ⁿ paths."""
        return sum(link.skip is not None for link in self.links)

    def swept(self, split: Split) -> list[Tensor]:
        """The gradient of the loss brought back to the stream before the first unit.

        Joins, bridges, and layers without a skip are on every path; only at the units with a skip is there
        something to choose.

        Parameters
        ----------
        split : brings cotangents back through skip and branch; it may make more of them, or fewer.
        """
        gradients = [self.cotangent]
        for link in reversed(self.links):
            # The unit's forward order, backwards: join, then skip and branch, then the bridge before them.
            gradients = link.join.pull(gradients)
            pull = link.branch.pull if link.skip is None else partial(split, link)
            gradients = pull(gradients)
            if link.bridge is not None:
                gradients = link.bridge.pull(gradients)
        return gradients

    def at_start(self, gradients: list[Tensor]) -> list[Tensor]:
        """From the stream before the first unit to where gradients are measured."""
        return gradients if self.stem is None else self.stem.pull(gradients)

    def norms(self, gradients: Sequence[Tensor]) -> Tensor:
        """Euclidean norm (len(gradients), N) of each example's gradient, in double precision."""
        # In double precision: squares of float32 vanish below 1e-19. The scale comes last, since what it
        # belongs to may be below the range of float32 altogether.
        rows = [torch.linalg.vector_norm(g.flatten(1).double(), dim=1) for g in gradients]
        return torch.stack(rows) * self.scale


def freeze(
    network: ResidualNetwork,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> ResidualNetwork:
    """A copy in eval mode whose weights need no gradient; the given network stays as it is.

    Raises
    ------
    ResanalysisError : if the network is to be measured in bf16.
    """
    check_not_bf16(network.arithmetic, "gradients and streams are measured")
    copy = network.to(network.device if device is None else device, dtype)
    for part in copy.parts().values():
        part.requires_grad_(False).eval()
    return copy


def residual_units(network: ResidualNetwork) -> int:
    """How many units have a skip: the n of the 2ⁿ paths.

    Raises
    ------
    ResanalysisError : if none has.
    """
    count = sum(unit.skip_kind != "none" for unit in network.units)
    if count == 0:
        raise ResanalysisError(
            f"{network.name} has no unit with a skip, so one path only: gradients by path length "
            "need a residual network"
        )
    return count


def record(
    network: ResidualNetwork,
    inputs: Inputs,
    labels: Tensor,
    *,
    at: At = "input",
    at_once: int = 0,
) -> Tape:
    """Run the intact network and keep what its parts' derivatives need.

    Parameters
    ----------
    network : from ``freeze``.
    inputs, labels : one batch; labels (N,), or (N, T) tokens with −100 where there is none.
    at : ``"input"`` differentiates through the stem and needs a float tensor as input.
    at_once : cotangents per vectorised sweep; 0 takes them one after the other.

    Raises
    ------
    ResanalysisError : if the gradient at the input is asked for and is not defined, if no unit has a skip,
        or if the head reads the stream at several places.
    """
    residual_units(network)
    if network.taps:
        raise ResanalysisError(
            f"the model around {network.name} reads the stream at {len(network.taps) + 1} places, so its "
            "gradient does not pass one chain of units: gradients by path length are not defined for it"
        )
    with torch.enable_grad():
        stem, h, side = _enter(network, inputs, at, at_once)
        links: list[Link] = []
        number = 0
        for unit, _, bridge in network.chain():
            # Each part begins at a leaf of its own, cut off from what is before it. To go back through it is
            # then its own derivative and nothing else, and parts can be passed in any combination.
            crossed = None if bridge is None else _recorded(bridge, h, side, at_once)
            start = (h if crossed is None else crossed.end.detach()).requires_grad_()
            branch = _recorded(unit.branch, start, side, at_once)
            skip, join, total = None, nn.Identity(), branch.end
            if unit.skip_kind != "none":
                skip, join = _recorded(unit.skip, start, side, at_once), unit.join
                total = total + skip.end
            left = _recorded(join, total.detach(), side, at_once)
            links.append(Link(unit.index, number, crossed, skip, branch, left))
            number += skip is not None
            h = left.end.detach()
        cotangent, scale, losses = _loss_gradient(network, h.requires_grad_(), side, labels)
    return Tape(stem, tuple(links), cotangent, scale, losses)


def _recorded(part: nn.Module, h: Tensor, side: Side, at_once: int) -> Recorded:
    def run(stream: Tensor) -> Tensor:
        return run_piece(part, stream, side)

    start = h.requires_grad_()
    end = run(start)
    return Recorded(None if end is start else run, start, end, at_once)


def _enter(
    network: ResidualNetwork, inputs: Inputs, at: At, at_once: int
) -> tuple[Recorded | None, Tensor, Side]:
    if at == "first-unit":
        # The gradient at the stream alone, for which side inputs are constants.
        with torch.no_grad():
            h, side = network.enter(inputs)
        return None, h.detach(), side
    if at != "input":
        raise ResanalysisError(f"gradients are measured at input or first-unit, got {at!r}")
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
        found = (
            f"{inputs.dtype} values" if isinstance(inputs, Tensor) else "more than one input tensor"
        )
        raise ResanalysisError(
            f"no gradient at the input of {network.name}, which takes {found}: measure it at the "
            "stream before the first unit (at first-unit)"
        )
    start = inputs.detach().requires_grad_()
    h, side = network.enter(start)
    if any(not isinstance(value, Tensor) or value.requires_grad for value in side):
        raise ResanalysisError(
            f"units of {network.name} read side inputs that depend on the model's input, so that some "
            "of its gradient passes beside the stream: measure it at first-unit"
        )

    def run(values: Tensor) -> Tensor:
        return network.enter(values)[0]

    stem = Recorded(None if h is start else run, start, h, at_once)
    return stem, h.detach(), side


def _loss_gradient(
    network: ResidualNetwork, h: Tensor, side: Side, labels: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    logits = network.leave(h, side)
    at_logits, first, losses = loss_gradient(logits, labels)
    (gradient,) = torch.autograd.grad(logits, h, at_logits)
    # Once more: the head may shrink it too.
    cotangent, second = rescaled(gradient)
    return cotangent.detach(), first * second, losses
