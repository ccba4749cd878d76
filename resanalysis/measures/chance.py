"""The error of an answer that does not look at its input."""

from __future__ import annotations

import numpy as np

from resanalysis.datasets import Dataset


def chance_error(data: Dataset) -> float:
    """Error of always answering the most common class; NaN where an example has more answers than one.

    A lesioned network often ends there, so an error that has reached it cannot rise and says no more.
    """
    # Data of a user's own need have no more than ``batch``.
    labels, accepted = getattr(data, "labels", None), getattr(data, "accepted", None)
    if accepted is not None and len(data):
        return 1.0 - float(accepted.mean(0).max())
    if labels is None or labels.ndim > 1 or not len(labels):
        return float("nan")
    return 1.0 - float(np.unique(labels, return_counts=True)[1].max() / len(labels))
