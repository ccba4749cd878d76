"""The summed gradient of all paths of each length, for every length in one sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from resanalysis.path_gradients.tape import Link, Tape


class LengthGradients(NamedTuple):
    """Per example, what is kept of the sums G_k; rows are lengths 0…max_length.

    Attributes
    ----------
    norms : (K, N), ‖G_k‖.
    shares : (K, N), ⟨G_k, g⟩ / ‖g‖² with the full gradient g; NaN where g = 0. They sum to 1 over all
        lengths.
    full : (N,), ‖g‖.
    """

    norms: Tensor
    shares: Tensor
    full: Tensor


def length_sums(
    tape: Tape, *, max_length: int | None = None, signs: Tensor | None = None
) -> list[Tensor]:
    """G_k for k = 0…max_length: gradients summed over all paths through exactly k branches.

    Going backwards through unit i, with the transposed Jacobians S of its skip and F of its branch:
    ``G_k ← S G_k + F G_{k−1}``. Unit i is passed by the lengths that the units after it allow only, so
    that n units take n(n+1)/2 branch sweeps, n/2 times those of an ordinary backward pass.

    Parameters
    ----------
    tape : the recorded forward pass of a batch.
    max_length : longest path to follow; all if left out.
    signs : (n, N) of ±1, one for each residual unit and example, multiplied to its branch.

    Returns
    -------
    list : tensors of the shape of the input (or of the first unit's), in units of ``tape.scale``.

    Source: Veit et al. 2016, §5.2, summed instead of sampled; derived in docs/gradients.md.
    """
    last = tape.residual if max_length is None else min(max_length, tape.residual)

    def split(link: Link, sums: list[Tensor]) -> list[Tensor]:
        assert link.skip is not None
        # A path of length `last` takes no further branch. Until then there is one sum more behind every unit, 1
        # + 2 + … + n branch sweeps in all.
        taken = link.branch.pull(sums[:last])
        if signs is not None:
            taken = [_signed(signs[link.number], gradient) for gradient in taken]
        return merged(link.skip.pull(sums), taken)

    return tape.at_start(tape.swept(split))


def _signed(signs: Tensor, gradient: Tensor) -> Tensor:
    """Each example's own sign (N,) on its gradient (N, …)."""
    return signs.view(-1, *(1,) * (gradient.ndim - 1)) * gradient


def merged(through: Sequence[Tensor], taken: Sequence[Tensor]) -> list[Tensor]:
    """Sums by length after a unit: those through its skip, and one longer those through its branch."""
    both = [skip + branch for skip, branch in zip(through[1:], taken, strict=False)]
    return [through[0], *both, *taken[len(both) :]]


def full_gradient(tape: Tape) -> Tensor:
    """The ordinary gradient, all paths together, in units of ``tape.scale``."""

    def both(link: Link, gradients: list[Tensor]) -> list[Tensor]:
        assert link.skip is not None
        return [link.skip.pull(gradients)[0] + link.branch.pull(gradients)[0]]

    return tape.at_start(tape.swept(both))[0]


def length_gradients(tape: Tape, *, max_length: int | None = None) -> LengthGradients:
    """Norms and shares of the exact sums over all C(n, k) paths of each length.

    Parameters
    ----------
    tape : the recorded forward pass of a batch of N examples.
    max_length : longest path to follow; the full gradient then costs one more sweep.
    """
    sums = length_sums(tape, max_length=max_length)
    # All paths together are the gradient, so that it costs no sweep where no length is left out.
    if len(sums) == tape.residual + 1:
        full = torch.stack([gradient.double() for gradient in sums]).sum(0)
    else:
        full = full_gradient(tape).double()
    flat = full.flatten(1)
    squared = flat.square().sum(1)
    inner = torch.stack([(gradient.flatten(1).double() * flat).sum(1) for gradient in sums])
    shares = torch.where(squared > 0, inner / squared, torch.nan)
    return LengthGradients(tape.norms(sums), shares, tape.norms([full])[0])
