"""From a model and data by name to a recorded result: load, unravel, measure, write."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, cast

from resanalysis.errors import ResanalysisError

if TYPE_CHECKING:  # paths --depth needs no torch, and must not wait for it
    from torch import nn

    from resanalysis.checkpoint import ModelInfo
    from resanalysis.datasets import Dataset
    from resanalysis.network import Arithmetic, Inputs, ResidualNetwork

EXAMPLE_IMAGES = 8


@dataclass(frozen=True, eq=False)
class Subject:
    """What is analysed.

    Attributes
    ----------
    network : the unraveled view.
    module : the model itself.
    data : ``None`` where a command needs none.
    example : the batch the model was captured with.
    model, source : the model and the data as the user named them.
    submodule : the part that is analysed, where it is not the whole model.
    model_sha256, data_sha256 : of their contents.
    device : where experiments run.
    seconds : what loading and unraveling took.
    """

    network: ResidualNetwork
    module: nn.Module
    data: Dataset | None
    example: Inputs
    model: str
    source: str | None = None
    submodule: str | None = None
    model_sha256: str | None = None
    data_sha256: str | None = None
    device: str = "cpu"
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])

    def examples(self) -> Dataset:
        """The data.

        Raises
        ------
        ResanalysisError : if none was named.
        """
        if self.data is None:
            raise ResanalysisError(
                f"nothing to measure {self.model} on: name some data with --data"
            )
        return self.data

    @property
    def gradients_at(self) -> Literal["input", "first-unit"]:
        """Where gradients can be taken: token numbers have none, the stream after them has."""
        from torch import Tensor

        floats = isinstance(self.example, Tensor) and self.example.is_floating_point()
        return "input" if floats else "first-unit"

    def view(self) -> dict[str, Any]:
        """The unraveled view in brief."""
        units = self.network.units
        return {
            "model": self.model,
            **({} if self.submodule is None else {"submodule": self.submodule}),
            "arithmetic": self.network.arithmetic,
            "units": len(units),
            "stages": len({unit.stage for unit in units}),
            "transitions": [unit.index for unit in units if unit.transition],
            "skips": dict(Counter(unit.skip_kind for unit in units)),
            "parameters": sum(unit.parameters for unit in units),
        }


def load_subject(
    model: str,
    source: str | None,
    *,
    arch: str | None = None,
    trust_pickle: bool = False,
    submodule: str | None = None,
    group: Literal["unit", "layer"] = "unit",
    plain: bool = False,
    normalize: str | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    limit: int | None = None,
    input_shape: tuple[int, ...] | None = None,
    device: str | None = None,
    arithmetic: Arithmetic = "float32",
    seed: int = 0,
) -> Subject:
    """Load a model and its data and unravel the model on the data's first examples.

    The preprocessing that the checkpoint records is used unless ``normalize``, or ``mean`` and
    ``std``, say otherwise.

    Raises
    ------
    CheckpointError, DataError, UnravelError : naming what was found and what to do.
    ResanalysisError : if there is no such device, if labels and outputs do not match, or if without data
        there is no way to know what the model's input looks like.
    """
    from resanalysis.checkpoint import check_fit, load
    from resanalysis.view import unravel

    device = device_named(device)
    started = time.perf_counter()
    loaded = load(model, arch=arch, trust_pickle=trust_pickle)
    info = cast("ModelInfo | None", getattr(loaded, "resanalysis", None))
    data: Dataset | None = None
    if source is not None:
        data = data_for(
            info, source, normalize=normalize, mean=mean, std=std, limit=limit, seed=seed
        )
    loaded_at = time.perf_counter()
    example = _example(model, data, info, input_shape)
    check_fit(loaded, example, info, model, source or "--input-shape")
    network = unravel(loaded, example, group=group, plain=plain, submodule=submodule, name=model)
    if data is not None and data.labels is not None:
        _check_labels(network, data, example, f"{model} on {source}")
    return Subject(
        network=replace(network, arithmetic=arithmetic),
        module=loaded,
        data=data,
        example=example,
        model=model,
        source=source,
        submodule=submodule,
        model_sha256=None if info is None else info.sha256,
        data_sha256=None if data is None else data.sha256,
        device=device,
        seconds={
            "load": loaded_at - started,
            "unravel": time.perf_counter() - loaded_at,
        },
    )


def data_for(
    info: ModelInfo | None,
    source: str,
    *,
    normalize: str | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Data for a model: normalised as its checkpoint records, unless the user says otherwise; plain text
    as the model's own tokenizer cuts it.
    """
    from resanalysis.datasets import check_vocabulary, dataset

    if info is not None and info.preprocessing is not None and not (normalize or mean or std):
        mean, std = info.preprocessing.mean, info.preprocessing.std
    of_text = info is not None and source.startswith("text:")
    data = dataset(
        source,
        normalize=normalize,
        mean=mean,
        std=std,
        limit=limit,
        seed=seed,
        tokenizer=info.tokenizer if info is not None and of_text else None,
        positions=info.positions if info is not None and of_text else None,
    )
    if info is not None and info.vocabulary is not None:
        check_vocabulary(data, info.vocabulary, info.name)
    return data


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
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ResanalysisError(f"cannot run on --device {name}: {reason}") from error
    return name


def _check_labels(network: ResidualNetwork, data: Dataset, example: Inputs, what: str) -> None:
    """A label the model has no output for means the data is of another task."""
    import torch

    with torch.inference_mode():
        outputs = network(example)
    if not isinstance(outputs, torch.Tensor) or outputs.ndim != 2 or data.labels is None:
        return
    lowest, highest, classes = int(data.labels.min()), int(data.labels.max()), outputs.shape[1]
    if lowest < 0 or highest >= classes:
        raise ResanalysisError(
            f"{what}: labels run from {lowest} to {highest}, the model has outputs 0 to "
            f"{classes - 1}; give it data of its own classes"
        )


def _example(
    model: str, data: Dataset | None, info: ModelInfo | None, shape: tuple[int, ...] | None
) -> Inputs:
    if data is not None:
        return data.batch(0, min(len(data), EXAMPLE_IMAGES))[0]
    if shape is None and info is not None and info.preprocessing is not None:
        shape = info.preprocessing.input_size
    if shape is None:
        raise ResanalysisError(
            f"{model} does not record the shape of its input: name some data with --data, or the "
            "shape with --input-shape, such as 3,32,32"
        )
    import torch

    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
