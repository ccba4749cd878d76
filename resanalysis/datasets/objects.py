"""What is to be found in one image: boxes and their classes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Objects:
    """The annotated objects of one image.

    Attributes
    ----------
    boxes : (n, 4) of float64, ``x, y, width, height`` in pixels, as COCO has them.
    labels : (n,) of int64, the ids of their categories.
    areas : (n,) of float64, square pixels.
    crowd : (n,), whether it is a crowd, in which detections count neither as right nor as wrong.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    areas: NDArray[np.float64]
    crowd: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.labels)

    def digest(self) -> bytes:
        """Of all of it."""
        state = hashlib.sha256()
        for values in (self.boxes, self.labels, self.areas, self.crowd):
            state.update(repr(values.shape).encode() + np.ascontiguousarray(values).tobytes())
        return state.digest()
