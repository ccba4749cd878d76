"""What a model's library says of its images: size, crop, interpolation and normalisation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from resanalysis.checkpoint.errors import CheckpointError, first_line
from resanalysis.checkpoint.info import Preprocessing, Recorded
from resanalysis.datasets.normalisation import NORMALISATIONS
from resanalysis.datasets.pixels import INTERPOLATIONS, MOST_PIXELS, Pixels, shaped
from resanalysis.errors import printable

IMAGENET = Preprocessing(*NORMALISATIONS["imagenet"])
_PILLOW = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # by their numbers


def of_torchvision(name: str) -> Preprocessing:
    """What ``weights.transforms()`` of a model's usual weights does; of no classifier, the mean alone.

    Detectors normalise images themselves.
    """
    import torchvision
    from torchvision.transforms._presets import ImageClassification, ObjectDetection

    weights: Any = torchvision.models.get_model_weights(name)
    best = weights.DEFAULT
    preset = best.transforms()
    if isinstance(preset, ObjectDetection):
        return Preprocessing(*NORMALISATIONS["none"])
    if not isinstance(preset, ImageClassification):
        return IMAGENET
    size, resize = preset.crop_size[0], preset.resize_size[0]
    pixels = Pixels(
        (size, size), resize, preset.interpolation.value, said_by=f"torchvision's {best}"
    )
    return Preprocessing(tuple(preset.mean), tuple(preset.std), (3, size, size), pixels)


def recorded_of(name: str) -> Recorded | None:
    """The error of a model's usual weights on ImageNet's validation images, as torchvision reports it."""
    import torchvision

    weights: Any = torchvision.models.get_model_weights(name)
    right = (weights.DEFAULT.meta.get("_metrics") or {}).get("ImageNet-1K", {}).get("acc@1")
    if right is None:
        return None
    return Recorded(1 - right / 100, 50_000, "ImageNet's validation images", classes=1000)


def of_timm(model: Any) -> Preprocessing:
    """What timm's ``resolve_model_data_config`` says; without pixels where it crops in a way of its own."""
    from timm.data.config import resolve_model_data_config

    said: Mapping[str, Any] = resolve_model_data_config(model)
    channels, high, wide = said["input_size"]
    mode, how = said["crop_mode"], said["interpolation"]
    resize = tuple(math.floor(side / said["crop_pct"]) for side in (high, wide))
    pixels = None
    if how in INTERPOLATIONS and (mode == "squash" or (mode == "center" and high == wide)):
        pixels = Pixels(
            (high, wide),
            (resize[0], resize[1]) if mode == "squash" else resize[0],
            how,
            said_by="timm's data config",
        )
    else:
        _not_done(f"timm crops {high}×{wide} by {mode}, {how}")
    return Preprocessing(tuple(said["mean"]), tuple(said["std"]), (channels, high, wide), pixels)


def of_hugging_face(folder: Path) -> Preprocessing | None:
    """What the image processor in a folder does, if there is one that can be understood.

    Its classes have rules of their own, so what is read of it is tried on a picture beside it.
    """
    if not (folder / "preprocessor_config.json").is_file():
        return None
    from transformers import AutoImageProcessor

    try:
        processor = cast(Any, AutoImageProcessor).from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        found = _of_processor(processor)
        same = found is not None and _agrees(processor, found)
    except Exception as error:  # a processor of sound or of several kinds, or a damaged file
        _not_done(f"{folder / 'preprocessor_config.json'}: {first_line(error)}")
        return None
    if not same:
        _not_done(f"{type(processor).__name__} does more than resize, crop and normalise")
        return None
    return found


def _of_processor(processor: Any) -> Preprocessing | None:
    """Its settings, without whatever its class does beside them."""
    pixels = _pixels_of_processor(processor)
    if pixels is None:
        return None
    # Theirs is (f·x − m) / s of a pixel x from 0 to 255, ours (x / 255 − m′) / s′, so that m′ = m / (255·f) and
    # s′ = s / (255·f).
    mean = processor.image_mean if processor.do_normalize else [0.0] * 3
    std = processor.image_std if processor.do_normalize else [1.0] * 3
    # Ours are of pixels in 0 to 1.
    white = 255 * processor.rescale_factor if processor.do_rescale else 255.0
    return Preprocessing(
        tuple(float(number) / white for number in mean),
        tuple(float(number) / white for number in std),
        (3, *pixels.size),
        pixels,
    )


def _pixels_of_processor(processor: Any) -> Pixels | None:
    resize, crop = _resized_and_cropped(processor)
    if not processor.do_resize or resize is None or crop is None:
        return None
    largest = max(*crop, *(resize if isinstance(resize, tuple) else (resize,)))
    if largest > MOST_PIXELS:
        raise CheckpointError(f"images with sides of {largest} are too large to be meant")
    how = _PILLOW[int(processor.resample)]
    tensor = "Pil" not in type(processor).__name__
    return Pixels(crop, resize, how, tensor, said_by=f"transformers' {type(processor).__name__}")


def _resized_and_cropped(
    processor: Any,
) -> tuple[int | tuple[int, int] | None, tuple[int, int] | None]:
    size, crop = _sides(processor.size), _sides(getattr(processor, "crop_size", None))
    short: int | None = getattr(processor.size, "shortest_edge", None)
    share: float | None = getattr(processor, "crop_pct", None)
    if share and short:  # of ConvNeXt and ResNet: from 384 on the whole image, else a share of it
        whole = (short, short)
        return (whole if short >= 384 else int(short / share)), whole
    cropped = getattr(processor, "do_center_crop", False)
    return short or size, crop if cropped else size


def _sides(size: Any) -> tuple[int, int] | None:
    height, width = getattr(size, "height", None), getattr(size, "width", None)
    return (int(height), int(width)) if height and width else None


def _agrees(processor: Any, found: Preprocessing) -> bool:
    """Whether a processor makes of a picture, wider than high, what is read of it."""
    from PIL import Image

    assert found.pixels is not None
    # Noise shows every difference in rounding and interpolation, and a picture that is no square those in the
    # crop.
    noise = np.random.default_rng(0).integers(0, 256, (301, 407, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    theirs = np.asarray(processor(images=picture, return_tensors="np")["pixel_values"])[0]
    mean, std = (np.array(value).reshape(-1, 1, 1) for value in (found.mean, found.std))
    ours = (shaped(picture, found.pixels) / 255 - mean) / std
    return theirs.shape == ours.shape and bool(np.allclose(theirs, ours, atol=1e-4))


def _not_done(what: str) -> None:
    warnings.warn(
        printable(
            f"{what}, which is not done here: folder:DIR is read in a simpler way; for exact numbers, prepare "
            "the images and save them as FILE.npz"
        ),
        stacklevel=2,
    )
