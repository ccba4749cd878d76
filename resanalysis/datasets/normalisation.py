"""How images are normalised: ``(x / 255 − mean) / std`` per channel, said by the user or on record."""

from __future__ import annotations

import math
from collections.abc import Sequence

from resanalysis.datasets.errors import DataError
from resanalysis.errors import quoted

Normalisation = tuple[Sequence[float], Sequence[float]]

NORMALISATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "fashion-mnist": ((0.2860,), (0.3530,)),
    "none": ((0.0,), (1.0,)),
    "raw": ((0.0,), (1 / 255,)),  # the numbers 0 to 255, for models that begin with a Rescaling
}


def chosen_normalisation(
    name: str,
    normalize: str | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    recorded: Normalisation | None,
) -> Normalisation:
    """Mean and standard deviation to use: the user's, else those that the data records.

    Raises
    ------
    DataError : if the user says half or two things, or nobody says anything: none is guessed.
    """
    if (mean is None) != (std is None):
        raise DataError(f"{name}: a mean and a std belong together; give both or neither")
    if mean is not None and std is not None:
        if normalize is not None:
            raise DataError(
                f"{name}: normalize={normalize} and mean, std say the same thing; give one"
            )
        return mean, std
    if normalize is not None:
        if normalize not in NORMALISATIONS:
            raise DataError(
                f"no normalisation {normalize!r}; there are {', '.join(NORMALISATIONS)}, or give mean "
                "and std"
            )
        return NORMALISATIONS[normalize]
    if recorded is None:
        raise DataError(
            f"{name}: nothing records how the model's training images were normalised; say it with "
            "--normalize imagenet, cifar10, fashion-mnist, none or raw, or with --mean and --std"
        )
    return recorded


def checked_normalisation(
    name: str, channels: int, mean: Sequence[float], std: Sequence[float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation with one number per channel.

    Raises
    ------
    DataError : if they are no such numbers, or not of images in 0 to 1.
    """
    means = _per_channel(mean, channels, "mean", name)
    stds = _per_channel(std, channels, "std", name)
    if min(stds) <= 0:
        raise DataError(
            f"{name}: the standard deviations to divide by must be positive, got {stds}"
        )
    if max(means) > 1:
        scaled = ",".join(f"{number / 255:.4g}" for number in means)
        raise DataError(
            f"{name}: the mean to normalise with is {means}, and images are scaled to 0 to 1 first, "
            f"where none is above 1; divide mean and std by 255 (mean {scaled})"
        )
    return means, stds


def _per_channel(value: Sequence[float], channels: int, what: str, name: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(number) for number in value)
    except (TypeError, ValueError, OverflowError):
        raise DataError(
            f"{name}: the {what} to normalise with must be a list of numbers, found {quoted(value)}"
        ) from None
    if not all(math.isfinite(number) for number in numbers):
        raise DataError(f"{name}: the {what} to normalise with is {quoted(numbers)}")
    if len(numbers) == 1:
        return numbers * channels
    if len(numbers) != channels:
        raise DataError(
            f"{name}: images have {channels} channel{'s' if channels > 1 else ''}, the {what} to "
            f"normalise with has {len(numbers)} numbers {quoted(numbers)}, as of a model for images of "
            f"{len(numbers)} channels; give it such images, or one number per channel with --mean and --std"
        )
    return numbers
