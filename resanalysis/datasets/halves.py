"""A data set in two parts, so that what is found on one can be measured on the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from resanalysis.datasets.images import Dataset


def two_parts(data: Dataset, n: int, seed: int) -> tuple[Dataset, Dataset]:
    """A seeded subset of ``n`` examples, with the classes in their proportions, and all the others.

    Parameters
    ----------
    n : from 1 to one less than there are.
    """
    chosen = data.limited(n, seed)
    other = ~np.isin(data.indices, chosen.indices)
    return chosen, replace(
        data,
        indices=data.indices[other],
        labels=None if data.labels is None else data.labels[other],
        mask=None if data.mask is None else data.mask[other],
        targets=None if data.targets is None else data.targets[other],
        accepted=None if data.accepted is None else data.accepted[other],
        subset=f"the {int(other.sum())} that are not in a {chosen.subset}",
    )
