"""How an image becomes the array that a model takes: resized, then its middle cut out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resanalysis.datasets.errors import DataError

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
"""As torchvision and timm call them."""


MOST_PIXELS = 4096
"""Of a side, where a file that nobody vouches for says it: an image takes its memory when it is read."""


@dataclass(frozen=True)
class Pixels:
    """What a model was made for.

    Attributes
    ----------
    size : height and width of what the model takes.
    resize : what the short side is resized to first; or height and width, whatever shape the image has.
    interpolation : one of ``INTERPOLATIONS``, always with antialiasing.
    as_tensor : resized as a tensor and its middle rounded down, as transformers does it; else as torchvision's
        presets and timm do, by Pillow. They differ by a grey level here and there.
    said_by : who says so, for screen and manifest.
    """

    size: tuple[int, int] = (224, 224)
    resize: int | tuple[int, int] = 256
    interpolation: str = "bilinear"
    as_tensor: bool = False
    said_by: str = field(default="the usual default", compare=False)

    def facts(self) -> dict[str, Any]:
        """As the manifest records them."""
        resize = self.resize if isinstance(self.resize, int) else list(self.resize)
        return {
            "image_size": list(self.size),
            "resize": resize,
            "interpolation": self.interpolation,
            "resized_as": "tensor" if self.as_tensor else "picture",
            "said_by": self.said_by,
        }

    def __str__(self) -> str:
        whole = self.resize == self.size
        side = f"short side to {self.resize}" if isinstance(self.resize, int) else "resized to "
        if not isinstance(self.resize, int):
            side += _by(self.resize)
        middle = "" if whole else f", middle {_by(self.size)}"
        return f"{side}{middle}, {self.interpolation}"


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def chosen_pixels(
    recorded: Pixels | None,
    image_size: int | None = None,
    crop: float | None = None,
    interpolation: str | None = None,
) -> Pixels:
    """What the user says, and of the rest what is recorded, else the usual: 224 of 256, bilinear.

    Parameters
    ----------
    image_size : side of what the model takes. The share that is cut out stays, unless ``crop`` says otherwise.
    crop : that share: the image is resized to ``image_size / crop``, rounded down as timm does.

    Raises
    ------
    DataError : for a size below 1, a share that is none, or an interpolation that there is not.
    """
    found = recorded or Pixels()
    if image_size is not None:
        found = _of_size(found, image_size)
    if crop is not None:
        found = _of_share(found, crop)
    if interpolation is not None:
        if interpolation not in INTERPOLATIONS:
            raise DataError(
                f"no interpolation {interpolation!r}; there are {', '.join(INTERPOLATIONS)}"
            )
        found = replace(found, interpolation=interpolation)
    said = {"--image-size": image_size, "--crop": crop, "--interpolation": interpolation}
    given = [option for option, value in said.items() if value is not None]
    rest = [] if len(given) == len(said) else [found.said_by]
    return replace(found, said_by=", ".join([*given, *rest]))


def _of_share(pixels: Pixels, crop: float) -> Pixels:
    """The same size, cut out of an image of another."""
    if not 0 < crop <= 1:
        raise DataError(f"a crop of {crop:g} is no share of the image; it is above 0, up to 1")
    high, wide = (math.floor(side / crop) for side in pixels.size)
    # One number keeps the shape of the image, two do not.
    resize = min(high, wide) if isinstance(pixels.resize, int) else (high, wide)
    return replace(pixels, resize=resize)


def _of_size(pixels: Pixels, size: int) -> Pixels:
    """The same share of the image, in another size; in whole numbers, so that 224 of 224 stays 232."""
    if size < 1:
        raise DataError(f"images of {size} pixels are empty; --image-size is 1 or more")
    if isinstance(pixels.resize, int):
        resize = size * pixels.resize // min(pixels.size)
    else:
        high, wide = (size * a // b for a, b in zip(pixels.resize, pixels.size, strict=True))
        resize = (high, wide)
    return replace(pixels, size=(size, size), resize=resize)


def shaped(image: Any, pixels: Pixels) -> NDArray[np.uint8]:
    """An RGB picture of Pillow's as uint8 (3, H, W), by torchvision's own functions."""
    # The first version of these functions rounds tensors otherwise: up to 13 levels on noise.
    import torchvision.transforms.v2.functional as F
    from torchvision.transforms import InterpolationMode

    picture = F.pil_to_tensor(image) if pixels.as_tensor else image
    wanted = [pixels.resize] if isinstance(pixels.resize, int) else list(pixels.resize)
    how = InterpolationMode(pixels.interpolation)
    resized: Any = F.resize(picture, wanted, interpolation=how, antialias=True)
    if not pixels.as_tensor:
        return np.asarray(F.center_crop(resized, list(pixels.size))).transpose(2, 0, 1)
    # Half a pixel is rounded down here, and to even in center_crop; what is too small gets a black border
    # in either, its odd pixel behind.
    (height, width), (high, wide) = resized.shape[-2:], pixels.size
    if high > height or wide > width:
        return F.center_crop(resized, [high, wide]).numpy()
    return F.crop(resized, (height - high) // 2, (width - wide) // 2, high, wide).numpy()
