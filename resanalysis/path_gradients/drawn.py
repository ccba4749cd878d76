"""Single paths drawn for each length, until their mean norm is precise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resanalysis.path_gradients.recorded import RecordedPasses
from resanalysis.path_gradients.sampled import draw_subsets, path_norms
from resanalysis.path_gradients.tape import Tape
from resanalysis.routes.batches import Block, free_memory, stream_bytes
from resanalysis.statistics.path_norms import relative_error

Floats = NDArray[np.float64]

_FIRST_SAMPLES, _MOST_SAMPLES = 32, 512


@dataclass(frozen=True, eq=False)
class DrawnPaths:
    """What was measured along the paths drawn of one length.

    Attributes
    ----------
    norms : (M,) of each path, averaged over images.
    images : (N,) of each image, averaged over paths.
    """

    norms: Floats
    images: Floats


def drawn_paths(
    over: RecordedPasses, n: int, last: int, samples: int | None, precision: float, seed: int
) -> list[DrawnPaths]:
    """Paths of each length from 0 to ``last``: so many, or twice as many again until their mean is precise.

    Parameters
    ----------
    n : units with a skip.
    samples : paths per length; ``None`` doubles them from 32 until the standard error of the mean is below
        ``precision`` times the mean, 512 at most. Lengths with no more paths are listed.
    """
    known: dict[int, DrawnPaths] = {}
    target = samples or _FIRST_SAMPLES
    pending = list(range(last + 1))
    while pending:
        known |= _drawn(over, n, target, pending, known, seed)
        if samples is not None or target >= _MOST_SAMPLES:
            break
        # Doubled only where the noise says so: lengths near 0 and n have few paths, which soon are all listed.
        pending = [
            k
            for k in pending
            if not _listed(n, k, target) and relative_error(known[k].norms) > precision
        ]
        target *= 2
    return [known[k] for k in range(last + 1)]


def _drawn(
    over: RecordedPasses,
    n: int,
    target: int,
    lengths: Sequence[int],
    known: Mapping[int, DrawnPaths],
    seed: int,
) -> dict[int, DrawnPaths]:
    """``target`` paths of some lengths; those that were drawn before are not measured again."""
    # A length that is listed begins anew: its list is in another order than the draws before.
    before = {k: known[k] for k in lengths if k in known and not _listed(n, k, target)}
    fresh = {
        k: draw_subsets(n, k, target, seed)[len(before[k].norms) if k in before else 0 :]
        for k in lengths
    }
    masks = np.concatenate(list(fresh.values()))

    def measure(tape: Tape, _: slice) -> Block:
        one = len(tape.losses) * stream_bytes(over.network)
        at_once = max(1, min(64, free_memory(over.network.device) // (16 * one)))
        return {"norms": path_norms(tape, masks, at_once=at_once).numpy()}

    rows = over.measure(f"sampled {target}", measure)["norms"]
    parts = np.split(rows, np.cumsum([len(some) for some in fresh.values()])[:-1])
    return {k: _added(before.get(k), part) for k, part in zip(fresh, parts, strict=True)}


def _added(before: DrawnPaths | None, rows: Floats) -> DrawnPaths:
    """Further paths (M, N) to those known."""
    if before is None:
        return DrawnPaths(rows.mean(axis=1), rows.mean(axis=0))
    norms = np.concatenate([before.norms, rows.mean(axis=1)])
    images = before.images * len(before.norms) + rows.sum(axis=0)
    return DrawnPaths(norms, images / len(norms))


def _listed(units: int, length: int, samples: int) -> bool:
    return math.comb(units, length) <= samples
