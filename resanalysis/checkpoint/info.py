"""What is known of a loaded model beside its weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preprocessing:
    """How images are normalised: ``(x / 255 − mean) / std`` per channel; input size (C, H, W)."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_size: tuple[int, ...] | None = None


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a loaded model; ``load`` leaves it on the model as ``.resanalysis``.

    Of a language model: the folder of its ``tokenizer``, the longest sequence it takes (``positions``) and
    the number of token ids it knows (``vocabulary``).
    """

    name: str
    architecture: str | None = None
    preprocessing: Preprocessing | None = None
    classes: tuple[str, ...] | None = None
    sha256: str | None = None
    tokenizer: str | None = None
    positions: int | None = None
    vocabulary: int | None = None
