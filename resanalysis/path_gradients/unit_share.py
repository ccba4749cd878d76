"""How much of the gradient each unit's branch carries at each path length."""

from __future__ import annotations

import torch
from torch import Tensor

from resanalysis.path_gradients.exact import full_gradient, merged
from resanalysis.path_gradients.tape import Link, Tape


def unit_shares(tape: Tape, *, max_length: int | None = None) -> Tensor:
    """⟨G_k⁽ⁱ⁾, g⟩ / ‖g‖², with G_k⁽ⁱ⁾ the sum over the paths of length k that take unit i's branch.

    With T_a the sum over the ways from the input to unit i through a branches, applied forwards to the
    full gradient g, and C_b the sum over the ways back from the output through b branches, a path of
    length a + 1 + b splits at unit i: ``⟨G_k⁽ⁱ⁾, g⟩ = Σ_{a+b=k−1} ⟨F_i C_b, T_a⟩``. One forward sweep
    of n(n+1)/2 Jacobian products carries all T_a, the backward sweep of ``length_sums`` all C_b, and
    n³/6 inner products of streams join them: about 2.5 exact passes in all. The T_a of all units
    are kept, n²/2 streams an example.

    Parameters
    ----------
    tape : the recorded forward pass of a batch of N examples.
    max_length : longest path to follow.

    Returns
    -------
    Tensor (n, K, N) of float64; NaN where g = 0. Over units it sums to k times the share of length k.
    """
    n = tape.residual
    last = n if max_length is None else min(max_length, n)
    full = full_gradient(tape)
    squared = full.flatten(1).double().square().sum(1)
    tangents = _tangents(tape, full, last)
    shares = torch.zeros(n, last + 1, len(squared), dtype=torch.float64, device=full.device)

    def split(link: Link, sums: list[Tensor]) -> list[Tensor]:
        assert link.skip is not None
        taken = link.branch.pull(sums[:last])
        # Kept in the order of the chain, wanted backwards: each is let go of when it has been used.
        _add_inner_products(shares[link.number], tangents.pop(), taken)
        return merged(link.skip.pull(sums), taken)

    tape.swept(split)
    return torch.where(squared > 0, shares / squared, torch.nan)


def _add_inner_products(shares: Tensor, tangents: Tensor, taken: list[Tensor]) -> None:
    """Add ⟨taken_b, tangents_a⟩ to row a + b + 1 of ``shares`` (K, N)."""
    if not taken:
        return
    forward = tangents.flatten(2)
    backward = torch.stack(taken).flatten(2)
    inner = torch.einsum("and,bnd->abn", forward, backward).double()
    for a in range(len(forward)):
        rows = min(len(backward), len(shares) - 1 - a)
        shares[a + 1 : a + 1 + rows] += inner[a, :rows]


def _tangents(tape: Tape, direction: Tensor, last: int) -> list[Tensor]:
    """Before each residual unit, T_a (a + 1 ≤ last, N, …) along ``direction`` at the input."""
    tangents = direction[None]
    if tape.stem is not None:
        tangents = tape.stem.push(tangents)
    kept: list[Tensor] = []
    for link in tape.links:
        if link.bridge is not None:
            tangents = link.bridge.push(tangents)
        taken = link.branch.push(tangents)
        if link.skip is not None:
            # With `last` branches before it, a path of at most `last` cannot take this one.
            kept.append(tangents[:last])
            through = link.skip.push(tangents)
            sums = torch.cat([through, torch.zeros_like(taken[:1])])
            sums[1:] += taken
            taken = sums[: max(1, last)]
        tangents = link.join.push(taken)
    return kept
