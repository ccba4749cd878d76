"""A model and its data by name, as they are read, before anything is unraveled."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast
from warnings import warn

from resanalysis.errors import LeftOutError, ResanalysisError

if TYPE_CHECKING:  # paths --depth needs no torch, and must not wait for it
    from torch import nn

    from resanalysis.checkpoint import ModelInfo
    from resanalysis.datasets import Dataset
    from resanalysis.network import Arithmetic, Inputs

EXAMPLE_IMAGES = 8


@dataclass(frozen=True)
class Reading:
    """How a model and its data are read; a field left out is found out, or taken from the checkpoint.

    Attributes
    ----------
    arch, state, remap, trust_pickle : how a file becomes a model.
    submodule, group, plain : which chain of it is analysed, and how fine its units are.
    output : which of the things it returns is scored.
    normalize, mean, std : how images are normalised, where the checkpoint does not record it.
    image_size, crop, interpolation : how files of images are resized, where the model does not say it.
    labels : a file of labels for the images of a folder, or ``imagenet``.
    needs_data : whether, where no data is named, what the model records or carries of it is taken.
    limit, image_seed : a stratified subset of the data, and the seed that chooses it.
    input_shape : of one input, where there is no data.
    device, arithmetic : where and in which arithmetic it runs.
    stream_weights : leave weights in their files; they are left there too where the memory cannot hold them.
    download : fetch the model from the Hugging Face hub.
    """

    arch: str | None = None
    state: str | None = None
    remap: bool = False
    trust_pickle: bool = False
    submodule: str | None = None
    group: Literal["unit", "layer"] = "unit"
    plain: bool = False
    output: str | None = None
    normalize: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    image_size: int | None = None
    crop: float | None = None
    interpolation: str | None = None
    labels: str | None = None
    needs_data: bool = False
    limit: int | None = None
    image_seed: int = 0
    input_shape: tuple[int, ...] | None = None
    device: str | None = None
    arithmetic: Arithmetic = "float32"
    stream_weights: bool = False
    download: bool = False


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model and its data as read.

    Attributes
    ----------
    module, data : ``data`` is ``None`` where none was named.
    example : a batch the model takes.
    model, source : the model and the data as the user named them, or as the model records the data.
    data_from : who named the data: ``--data``, or which record of the model; ``None`` without data.
    model_sha256, data_sha256 : of their contents.
    revision : the commit of a model that was fetched.
    device : where it is to run.
    seconds : what reading took.
    """

    module: nn.Module
    data: Dataset | None
    example: Inputs
    model: str
    source: str | None = None
    data_from: str | None = None
    model_sha256: str | None = None
    data_sha256: str | None = None
    revision: str | None = None
    device: str = "cpu"
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])

    def view(self) -> dict[str, Any]:
        """The model in brief."""
        parameters = sum(p.numel() for p in self.module.parameters())
        known = {} if self.revision is None else {"revision": self.revision}
        return {"model": self.model, **known, "sha256": self.model_sha256, "parameters": parameters}


def read(model: str, source: str | None, how: Reading) -> Loaded:
    """Load a model and its data, and see that the one takes the other.

    Raises
    ------
    CheckpointError, DataError : naming what was found and what to do.
    LeftOutError : if no data is named and the model knows of none, or not even of its input's shape.
    ResanalysisError : if there is no such device.
    """
    from resanalysis.checkpoint import check_fit, load
    from resanalysis.run.model_data import data_for, own_data

    device = device_named(how.device)
    started = time.perf_counter()
    module = load(
        model,
        arch=how.arch,
        state=how.state,
        remap=how.remap,
        trust_pickle=how.trust_pickle,
        stream_weights=how.stream_weights or _too_large(model, how.download),
        download=how.download,
    )
    info = cast("ModelInfo | None", getattr(module, "resanalysis", None))
    data, data_from = None, None
    if source is not None:
        data, data_from = data_for(info, source, how), "--data"
    elif how.needs_data:
        data, source, data_from = own_data(model, module, info, how)
    example = _example(model, data, info, how.input_shape)
    # Before anything longer: an image of the wrong size is told as such, and not as a failed capture.
    check_fit(module, example, info, model, source or "--input-shape")
    return Loaded(
        module=module,
        data=data,
        example=example,
        model=model,
        source=source,
        data_from=data_from,
        model_sha256=None if info is None else info.sha256,
        data_sha256=None if data is None else data.sha256,
        revision=None if info is None else info.revision,
        device=device,
        seconds={"load": time.perf_counter() - started},
    )


def _too_large(model: str, download: bool) -> bool:
    """Whether the weights do not fit the memory but can stay in their files, which is then said."""
    import torch

    from resanalysis.checkpoint import stored_bytes
    from resanalysis.routes.batches import free_memory

    stored, free = stored_bytes(model, download=download), free_memory(torch.device("cpu"))
    if stored <= free:
        return False
    warn(
        f"{model} has {stored / 2**30:.1f} GiB of weights, and {free / 2**30:.1f} GiB of memory are free: "
        "they are read from their files a unit at a time, as with --stream-weights",
        stacklevel=3,
    )
    return True


def _example(
    model: str, data: Dataset | None, info: ModelInfo | None, shape: tuple[int, ...] | None
) -> Inputs:
    if data is not None:
        several = EXAMPLE_IMAGES if data.one_size else 1
        return data.batch(0, min(len(data), several))[0]
    if shape is None and info is not None:
        shape = info.input_size or (info.preprocessing and info.preprocessing.input_size)
    if shape is None:
        raise LeftOutError(
            f"{model} does not record the shape of its input: name some data with --data, or the "
            "shape with --input-shape, such as 3,32,32"
        )
    import torch

    generator = torch.Generator().manual_seed(0)
    known = None if info is None else info.preprocessing
    if known is None or len(shape) != 3 or shape[0] != len(known.mean):
        return torch.randn(2, *shape, generator=generator)
    # Where the model rescales by itself, its images are 0 to 255, and noise around 0 would be black to it.
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (known.mean, known.std))
    return (torch.rand(2, *shape, generator=generator) - mean) / std


def device_named(name: str | None) -> str:
    """The device of that name; a GPU, if there is one, where none is named.

    Raises
    ------
    ResanalysisError : if there is no such device.
    """
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).cpu()  # meta makes tensors, and has no values to give
    except (RuntimeError, AssertionError) as error:
        raise ResanalysisError(
            f"cannot run on --device {name}: {_why_not(name, error)}; name one of {', '.join(_devices())}"
        ) from error
    return name


def _why_not(name: str, error: Exception) -> str:
    """What torch says of a GPU; of any other it lists its backends, in a thousand characters."""
    if not name.startswith("cuda"):
        return "torch can compute on no such device here"
    return str(error).strip().splitlines()[0].partition(". ")[0][:160]


def _devices() -> list[str]:
    import torch

    gpus = [f"cuda:{n}" for n in range(torch.cuda.device_count())]
    return ["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]
