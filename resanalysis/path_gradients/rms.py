"""The root-mean-square gradient of a single path, for every length at once, by random signs."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resanalysis.path_gradients.exact import length_sums
from resanalysis.path_gradients.tape import Tape


def draw_signs(units: int, repetitions: int, examples: int, seed: int) -> NDArray[np.int8]:
    """Signs (repetitions, units, examples) of ±1: independent for every example, so that averages gain."""
    generator = np.random.default_rng([seed, 0x51])
    bits = generator.integers(0, 2, (repetitions, units, examples), dtype=np.int8)
    return (2 * bits - 1).astype(np.int8)


def random_sign_squares(
    tape: Tape, signs: NDArray[np.int8], *, max_length: int | None = None
) -> Tensor:
    """Unbiased estimates of Σ_S ‖g_S‖² over all paths S of each length.

    Multiply each unit's branch by a random sign ε. A path's gradient gets the product of its signs, and
    in E‖Σ_S ε_S g_S‖² the mixed terms vanish: two different paths differ in at least one unit.

    Parameters
    ----------
    tape : the recorded forward pass of a batch of N examples.
    signs : (R, n, N) of ±1.

    Returns
    -------
    Tensor (R, K, N) of float64: one unbiased estimate per repetition, length and example.
    """
    rows: list[Tensor] = []
    for repetition in signs:
        chosen = torch.from_numpy(np.ascontiguousarray(repetition))
        sums = length_sums(
            tape,
            max_length=max_length,
            signs=chosen.to(tape.cotangent.device, tape.cotangent.dtype),
        )
        # ‖Σ ε_S g_S‖² is unbiased for Σ ‖g_S‖², its root is not: repetitions are averaged before it is taken.
        rows.append(tape.norms(sums).square())
    return torch.stack(rows)
