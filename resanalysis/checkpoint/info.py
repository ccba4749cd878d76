"""What is known of a loaded model beside its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from resanalysis.datasets.pixels import Pixels
from resanalysis.models.architecture import Architecture
from resanalysis.network import WeightFiles


@dataclass(frozen=True)
class Preprocessing:
    """How images are normalised: ``(x / 255 − mean) / std`` per channel; input size (C, H, W).

    ``pixels`` says how image files are resized and cropped, where that is known.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_size: tuple[int, ...] | None = None
    pixels: Pixels | None = None


@dataclass(frozen=True)
class Recorded:
    """What was measured of a model when it was written.

    Attributes
    ----------
    error, n : of the intact model, on so many examples.
    of : what they are of.
    classes : of data with another number of classes it says nothing; ``None`` where any will do.
    """

    error: float
    n: int
    of: str
    classes: int | None = None

    def is_of(self, classes: tuple[str, ...] | None) -> bool:
        """Whether data with these classes is of its task."""
        return self.classes is None or (classes is not None and len(classes) == self.classes)


@dataclass(frozen=True)
class DataRecord:
    """The data a model was tested on, as its checkpoint records it.

    Attributes
    ----------
    source : as whoever wrote the checkpoint named it, such as ``fashion-mnist:data``; ``dataset`` takes it.
    split : ``train`` or ``test``, of data that has both.
    sha256 : of all examples, normalised as the checkpoint records; empty where the data ships with the model.
    n : how many they are; 0 where that is not recorded.
    """

    source: str
    split: str = "test"
    sha256: str = ""
    n: int = 0


@dataclass(frozen=True, eq=False)
class Sample:
    """Examples that a checkpoint carries.

    Attributes
    ----------
    images : (N, C, H, W), before any normalisation.
    labels : (N,), or (N, H, W) of a segmentation, or ``None``.
    chosen : how they were chosen among those the model was tested on; empty if they are all.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    chosen: str = ""


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a loaded model; ``load`` leaves it on the model as ``.resanalysis``.

    ``built`` is the architecture that makes the model without its weights, where it has a name;
    ``tested`` and ``sample`` are what its checkpoint records of test data and carries of it, ``recorded`` the
    error that it had; ``input_size`` is (C, H, W) of a file that says it, and nothing of preprocessing.

    Of a language model: the folder of its ``tokenizer``, the longest sequence it takes (``positions``) and
    the number of token ids it knows (``vocabulary``), and what it ``predicts``: each next token, masked
    ones, or none (an encoder without a head, a classifier of texts); ``None`` where that is not known.

    ``files`` are those its weights are still in, where they are not in memory; ``revision`` is the commit
    of a model that was fetched.
    """

    name: str
    architecture: str | None = None
    preprocessing: Preprocessing | None = None
    classes: tuple[str, ...] | None = None
    sha256: str | None = None
    tokenizer: str | None = None
    positions: int | None = None
    vocabulary: int | None = None
    predicts: Literal["next", "masked", "none"] | None = None
    built: Architecture | None = None
    tested: DataRecord | None = None
    sample: Sample | None = None
    recorded: Recorded | None = None
    input_size: tuple[int, ...] | None = None
    files: WeightFiles | None = None
    revision: str | None = None
