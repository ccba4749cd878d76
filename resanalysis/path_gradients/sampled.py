"""Gradients along single paths: the branches of some units, the skips of the others."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resanalysis.errors import ResanalysisError
from resanalysis.path_gradients.tape import Link, Tape

Masks = NDArray[np.bool_]


def draw_subsets(units: int, length: int, samples: int, seed: int) -> Masks:
    """Subsets of ``length`` units, uniformly drawn with replacement; each once if there are so few.

    The first draws do not depend on how many are asked for, unless all subsets are listed.

    Returns
    -------
    array (M, units) of bool : M = samples, or C(units, length) if that is smaller.

    Source: Veit et al. 2016, §5.2.
    """
    if not 0 <= length <= units:
        raise ResanalysisError(f"paths of {units} units have length 0 to {units}, got {length}")
    count = math.comb(units, length)
    if count <= samples:
        masks = np.zeros((count, units), dtype=np.bool_)
        for row, chosen in enumerate(combinations(range(units), length)):
            masks[row, list(chosen)] = True
        return masks
    generator = np.random.default_rng([seed, length])
    # The `length` units with the smallest of n random keys are a uniform subset. Keys come row by row, so that
    # more samples leave the first ones as they are.
    ranks = generator.random((samples, units)).argsort(axis=1).argsort(axis=1)
    return ranks < length


def path_norms(tape: Tape, masks: Masks, *, at_once: int = 64) -> Tensor:
    """Norm of the gradient that reaches the input along each path.

    Paths go backwards side by side; as long as two agree they are one cotangent, and only the branch of
    a unit on the path or the skip of one off it is differentiated.

    Parameters
    ----------
    tape : the recorded forward pass of a batch of N examples.
    masks : (M, n): whether the path takes the branch of each residual unit.
    at_once : paths per sweep, which bounds the memory to so many streams.

    Returns
    -------
    Tensor (M, N) of float64.
    """
    if masks.ndim != 2 or masks.shape[1] != tape.residual:
        raise ResanalysisError(f"masks must be (paths, {tape.residual}), got {masks.shape}")
    # Sorted from the output on, paths of one sweep agree in their last units.
    order = np.lexsort(masks.T)
    norms = torch.empty(len(masks), len(tape.losses), dtype=torch.float64)
    for first in range(0, len(masks), at_once):
        rows = order[first : first + at_once]
        norms[torch.from_numpy(rows)] = _sweep(tape, masks[rows]).cpu()
    return norms


def _sweep(tape: Tape, masks: Masks) -> Tensor:
    """Norms (M, N) along paths that go back together until they part."""
    forks, place = _forks(masks)

    def split(link: Link, gradients: list[Tensor]) -> list[Tensor]:
        assert link.skip is not None
        parents, taken = forks[link.number]
        branches = iter(link.branch.pull([gradients[i] for i in parents[taken]]))
        skips = iter(link.skip.pull([gradients[i] for i in parents[~taken]]))
        return [next(branches if on_path else skips) for on_path in taken]

    gradients = tape.at_start(tape.swept(split))
    return tape.norms(gradients)[torch.from_numpy(place).to(tape.scale.device)]


def _forks(masks: Masks) -> tuple[list[tuple[NDArray[np.int64], Masks]], NDArray[np.int64]]:
    """How cotangents multiply on the way back, where paths (M, n) part.

    Returns
    -------
    list : for each unit, of every cotangent before it: which of those behind it it comes from, and whether
        through the branch.
    array (M,) : the cotangent that each path has in the end.
    """
    place = np.zeros(len(masks), dtype=np.int64)
    forks: list[tuple[NDArray[np.int64], Masks]] = []
    for column in masks.T[::-1]:
        # Paths that were one cotangent behind this unit, and do the same here, stay one before it.
        kinds, place = np.unique(2 * place + column, return_inverse=True)
        forks.append((kinds // 2, kinds % 2 == 1))
    return forks[::-1], place
