"""Models of Keras 3 on PyTorch: those of keras.applications by name, and files of Keras."""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from resanalysis.checkpoint.errors import CheckpointError, first_line
from resanalysis.checkpoint.filling import missing
from resanalysis.checkpoint.info import ModelInfo, Preprocessing
from resanalysis.checkpoint.keras_files import model_of_file
from resanalysis.checkpoint.keras_module import input_size, wrapped
from resanalysis.checkpoint.libraries import state_sha256, weights_choice
from resanalysis.checkpoint.reading import digest
from resanalysis.datasets.pixels import Pixels


def from_keras(name: str) -> tuple[nn.Module, ModelInfo]:
    """A model of keras.applications, with its trained weights unless ``?weights=none``."""
    name, trained = weights_choice(name)
    keras = keras_on_torch()
    builder = _application(keras, name)
    # Keras writes its download's progress to standard output, where --json writes a document.
    with keras.device("cpu"), contextlib.redirect_stdout(sys.stderr):
        keras.src.utils.naming.reset_uids()  # or a second model's conv2d would be conv2d_1
        try:
            model = builder(weights="imagenet" if trained else None, classifier_activation=None)
        except Exception as error:
            without = f"; random weights are keras:{name}?weights=none" if trained else ""
            raise CheckpointError(
                f"keras:{name} cannot be made ({type(error).__name__}: {first_line(error)}){without}"
            ) from None
        images, reversed_channels = _preprocessing(builder, input_size(model))
        module = wrapped(model, f"keras:{name}", reversed_channels=reversed_channels)
    return module, ModelInfo(f"keras:{name}", name, images, sha256=state_sha256(module))


def from_keras_file(path: Path, trust_pickle: bool) -> tuple[nn.Module, ModelInfo]:
    """The model in a ``.keras`` or ``.h5`` file."""
    keras = keras_on_torch()
    with keras.device("cpu"), contextlib.redirect_stdout(sys.stderr):
        model = model_of_file(path, keras, trust_pickle)
        module = wrapped(model, str(path))
    size = input_size(model)
    return module, ModelInfo(str(path), type(model).__name__, sha256=digest(path), input_size=size)


def keras_on_torch() -> Any:
    """The package, on PyTorch.

    Raises
    ------
    CheckpointError : if it is not installed, too old, or was imported on something else before.
    """
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "torch"  # read once, when keras is imported
    try:
        import keras
    except ImportError as error:
        raise missing("keras", error) from None
    if not hasattr(keras, "config"):
        raise CheckpointError(
            f'Keras {keras.__version__} has no PyTorch backend: pip install "resanalysis[keras]"'
        )
    if keras.config.backend() != "torch":
        raise CheckpointError(
            f"keras was imported with {keras.config.backend()} behind it before: set KERAS_BACKEND=torch in "
            "the environment, or load the model before you import keras"
        )
    return keras


def _application(keras: Any, name: str) -> Any:
    named = vars(keras.applications).items()
    there = [key for key, value in named if key[0].isupper() and callable(value)]
    if name not in there:
        near = difflib.get_close_matches(name, there, n=3)
        raise CheckpointError(
            f"keras.applications has no model {name!r}; near it: {', '.join(near) or 'none'}"
        )
    return getattr(keras.applications, name)


def _preprocessing(builder: Any, size: tuple[int, int, int] | None) -> tuple[Preprocessing, bool]:
    """What an application's own ``preprocess_input`` does, and whether it turns RGB into BGR.

    It is affine in each channel, so what it makes of black and of each primary says everything. How an image
    is resized Keras leaves to its users: the usual share is cut out, in the model's size.
    """
    preprocess = sys.modules[builder.__module__].preprocess_input  # pyright: ignore
    colours = np.concatenate([np.zeros((1, 3)), 255 * np.eye(3)]).reshape(4, 1, 1, 3)
    made = np.asarray(preprocess(colours.astype("float64"), data_format="channels_last"))
    black, primaries = made[0, 0, 0], made[1:, 0, 0]
    change = primaries - black  # (colour, channel of the model's)
    order = change.argmax(axis=1)
    slope = change.max(axis=1)
    mean = tuple(0.0 - float(value) for value in black[order] / slope)
    std = tuple(float(value) for value in 1 / slope)
    side = 224 if size is None else size[1]
    pixels = Pixels(
        (side, side), side * 256 // 224, said_by="the usual share, of Keras' input size"
    )
    return Preprocessing(mean, std, (3, side, side), pixels), bool(order[0] == 2)
