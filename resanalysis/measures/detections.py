"""What a detector found in each image, as torchvision's detectors return it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from resanalysis.errors import ResanalysisError
from resanalysis.routes.scores import described
from resanalysis.routes.whole import Record

NAMES = ("boxes", "scores", "labels")


def detections_in(output: Any, examples: int) -> list[Record]:
    """The detections of each image of a batch, and nothing else of what a detector may return.

    Returns
    -------
    list : ``boxes`` (n, 4), the corners ``x1, y1, x2, y2`` in pixels, ``scores`` (n,) and ``labels`` (n,).

    Raises
    ------
    ResanalysisError : if there is no such record for each image.
    """
    found: list[Record] = []
    rows: Sequence[Any] = output if isinstance(output, list | tuple) else ()
    for row in rows:
        fields = [row.get(name) for name in NAMES] if isinstance(row, Mapping) else []
        values = [field.detach().cpu().numpy() for field in fields if isinstance(field, Tensor)]
        # One that is no record ends it: then there are fewer than images, which the error below says.
        if len(values) < len(NAMES) or values[0].shape != (len(values[1]), 4):
            break
        kept = np.isfinite(values[0]).all(1) & np.isfinite(values[1])
        found.append({name: value[kept] for name, value in zip(NAMES, values, strict=True)})
    if not examples or len(found) != examples:
        raise ResanalysisError(
            f"the model returns {described(output)} for {examples} images; what it detects is read from a list "
            "with a dict of boxes (n, 4), scores and labels for each, as torchvision's detectors return it"
        )
    return found
