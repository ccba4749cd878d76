"""What is analysed: a model unraveled on its own data."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from resanalysis.errors import ResanalysisError
from resanalysis.run.reading import Loaded, Reading, read

if TYPE_CHECKING:  # paths --depth needs no torch, and must not wait for it
    from torch import nn

    from resanalysis.datasets import Dataset
    from resanalysis.network import Inputs, ResidualNetwork


@dataclass(frozen=True, eq=False)
class Subject:
    """What is analysed.

    Attributes
    ----------
    network : the unraveled view.
    module : the model itself.
    data : ``None`` where a command needs none.
    example : the batch the model was captured with.
    model, source : the model and the data as the user named them, or as the model records the data.
    data_from : who named the data; ``None`` where there is none.
    submodule : the part that is analysed, where it is not the whole model.
    model_sha256, data_sha256 : of their contents.
    revision : the commit of a model that was fetched.
    device : where experiments run.
    seconds : what loading and unraveling took.
    """

    network: ResidualNetwork
    module: nn.Module
    data: Dataset | None
    example: Inputs
    model: str
    source: str | None = None
    data_from: str | None = None
    submodule: str | None = None
    model_sha256: str | None = None
    data_sha256: str | None = None
    revision: str | None = None
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

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The module by name, for what is measured on modules."""
        return {self.network.name: self.module}

    @property
    def each_examples(self) -> Dataset:
        """The data of each module."""
        return self.examples()

    @property
    def usual_kind(self) -> str:
        """The kind of layer whose response is measured where none is named."""
        from resanalysis.experiments.response import usual_kind

        return usual_kind(self.module, self.submodule)

    @property
    def survival(self) -> list[float] | None:
        """How often each unit's branch ran in training, where the network records that some did not."""
        from resanalysis.models.survival import recorded_survival

        return recorded_survival(self.module)

    def view(self) -> dict[str, Any]:
        """The unraveled view in brief."""
        units = self.network.units
        return {
            "model": self.model,
            **({} if self.revision is None else {"revision": self.revision}),
            **({} if self.submodule is None else {"submodule": self.submodule}),
            "arithmetic": self.network.arithmetic,
            **({} if self.network.files is None else {"weights": "in their files"}),
            "units": len(units),
            "stages": len({unit.stage for unit in units}),
            "transitions": [unit.index for unit in units if unit.transition],
            "skips": dict(Counter(unit.skip_kind for unit in units)),
            "parameters": sum(unit.parameters for unit in units),
        }


def load_subject(model: str, source: str | None, how: Reading | None = None) -> Subject:
    """Load a model and its data and unravel the model on the data's first examples.

    The preprocessing that the checkpoint records is used unless the reading says otherwise.

    Raises
    ------
    CheckpointError, DataError, UnravelError : naming what was found and what to do.
    ResanalysisError : if labels and outputs do not match; as ``read`` does.
    """
    how = how or Reading()
    return unraveled(read(model, source, how), how)


def unraveled(loaded: Loaded, how: Reading) -> Subject:
    """The view of a model that was read, checked against it and against the labels."""
    from resanalysis.view import unravel

    started = time.perf_counter()
    network = unravel(
        loaded.module,
        loaded.example,
        group=how.group,
        plain=how.plain,
        submodule=how.submodule,
        output=how.output,
        name=loaded.model,
    )
    if loaded.data is not None and not loaded.data.one_size:
        _check_other_size(network, loaded, how.output)
    if loaded.data is not None and loaded.data.labels is not None:
        check_labels(network, loaded.data, loaded.example, loaded.model)
    return Subject(
        network=replace(network, arithmetic=how.arithmetic),
        module=loaded.module,
        data=loaded.data,
        example=loaded.example,
        model=loaded.model,
        source=loaded.source,
        data_from=loaded.data_from,
        submodule=how.submodule,
        model_sha256=loaded.model_sha256,
        data_sha256=loaded.data_sha256,
        revision=loaded.revision,
        device=loaded.device,
        seconds={**loaded.seconds, "unravel": time.perf_counter() - started},
    )


def _check_other_size(network: ResidualNetwork, loaded: Loaded, output: str | None) -> None:
    """The view was captured with images of one size; hold it to the model with one of another.

    Raises
    ------
    UnravelError : if it computes something else.
    """
    from resanalysis.view import check_same_output

    assert loaded.data is not None
    sizes = getattr(loaded.data.source, "sizes", ())
    chosen = [sizes[index] for index in loaded.data.indices]
    # The capture may have fixed a size that its one example had.
    place = next((number for number, size in enumerate(chosen) if size != chosen[0]), None)
    if place is not None:
        check_same_output(network, loaded.module, loaded.data.batch(place, place + 1)[0], output)


def check_labels(
    network: ResidualNetwork | nn.Module, data: Dataset, example: Inputs, model: str
) -> None:
    """A label the model has no output for means the data is of another task.

    Raises
    ------
    ResanalysisError : if there is one.
    """
    import torch

    from resanalysis.datasets import tell_of_classes

    with torch.inference_mode():
        outputs = network(example)
    if not isinstance(outputs, torch.Tensor) or outputs.ndim != 2 or data.labels is None:
        return
    lowest, highest, classes = int(data.labels.min()), int(data.labels.max()), outputs.shape[1]
    if lowest < 0 or highest >= classes:
        raise ResanalysisError(
            f"{model} on {data.name}: labels run from {lowest} to {highest}, the model has outputs 0 to "
            f"{classes - 1}; give it data of its own classes"
        )
    tell_of_classes(data, classes, model)
