"""A Keras model on PyTorch → a module whose parts have the names of Keras' layers."""

from __future__ import annotations

import inspect
import re
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from resanalysis.checkpoint.errors import CheckpointError
from resanalysis.checkpoint.keras_names import paths_of


class KerasLayer(nn.Module):
    """One layer with its weights as parameters and buffers of ours, always in inference.

    Keras keeps its variables where ``torch.export`` does not see that they are weights, so the layer is called
    without its state and given ours.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        of = {id(variable): self._taken(variable, layer) for variable in layer.variables}
        trained = [of[id(variable)] for variable in layer.trainable_variables]
        kept = [of[id(variable)] for variable in layer.non_trainable_variables]
        parts = {
            part: of.get(id(getattr(layer, part, None)))
            for part in ("moving_mean", "moving_variance", "gamma", "beta")
        }
        told = "training" in inspect.signature(layer.call).parameters

        # A function and no attribute: copies of this module then share the layer, whose own state is unused.
        def run(tensors: dict[str, Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if type(layer).__name__ == "BatchNormalization" and parts["moving_mean"]:
                values = {part: tensors[name] for part, name in parts.items() if name}
                return _batch_norm(args[0], values, layer.axis, layer.epsilon)
            if told:
                kwargs = {**kwargs, "training": False}
            state = [tensors[name] for name in trained], [tensors[name] for name in kept]
            return layer.stateless_call(*state, *args, **kwargs)[0]

        self._run = run

    def _taken(self, variable: Any, layer: Any) -> str:
        """The name under which a variable's value is ours now."""
        name, value = _own_name(variable, layer), variable.value.detach()
        if variable.trainable and value.is_floating_point():
            self.register_parameter(name, nn.Parameter(value))
        else:
            self.register_buffer(name, value)
        return name

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        tensors = dict(self.named_parameters()) | dict(self.named_buffers())
        return self._run(tensors, args, kwargs)


def _batch_norm(x: Tensor, values: dict[str, Tensor], axis: int, epsilon: float) -> Tensor:
    """As torch's own operation, which is known as batch norm in the graph, and Keras' arithmetic is not."""
    order = list(range(x.ndim))
    # An exchange is its own inverse: the same order leads back.
    order[1], order[axis] = order[axis], order[1]
    normed = functional.batch_norm(
        x.permute(order),
        values["moving_mean"],
        values["moving_variance"],
        values.get("gamma"),
        values.get("beta"),
        eps=epsilon,
    )
    return normed.permute(order)


class LeftOut(nn.Module):
    """In the place of a layer that is not run."""

    def forward(self, x: Tensor, **_kwargs: Any) -> Tensor:
        return x


class KerasOperation(nn.Module):
    """What is no layer but a function, such as the sum that ``x + y`` is; a module, so that it has a name."""

    def __init__(self, operation: Any) -> None:
        super().__init__()
        self._run = lambda *args, **kwargs: operation(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(*args, **kwargs)


class KerasGraph(nn.Module):
    """The layers of a functional model, called in its order."""

    def __init__(self, model: Any, left_out: Any = None) -> None:
        super().__init__()
        self.paths = paths_of(model, taken=dir(self))
        parts = {operation.name: _part(operation, left_out) for operation in model.operations}
        # A module before those inside it.
        for name, path in sorted(self.paths.items(), key=lambda item: item[1].count(".")):
            owner, _, own = path.rpartition(".")
            if parts[name] is not None:
                self.get_submodule(owner).add_module(own, parts[name])

        def run(inputs: list[Any], chosen: Any) -> Any:
            return model._run_through_graph(inputs, operation_fn=chosen)

        self._run = run

    def forward(self, *inputs: Any, **_kwargs: Any) -> Any:
        found = self._run(
            list(inputs), lambda operation: self.get_submodule(self.paths[operation.name])
        )
        return found[0] if isinstance(found, list | tuple) and len(found) == 1 else found


class KerasModel(KerasGraph):
    """A functional model that takes images as (N, C, H, W), whatever way round Keras has them.

    Parameters
    ----------
    channels_last : whether the model takes (N, H, W, C).
    reversed_channels : whether it takes blue first.
    left_out : a last layer that turns logits into probabilities, which is not run.
    """

    def __init__(
        self, model: Any, *, channels_last: bool, reversed_channels: bool, left_out: Any
    ) -> None:
        super().__init__(model, left_out)
        self.channels_last = channels_last
        self.reversed_channels = reversed_channels

    def forward(self, x: Tensor) -> Any:
        import keras

        if self.reversed_channels:
            x = x.flip(1)
        if self.channels_last:
            x = x.permute(0, 2, 3, 1)
        # Keras would put what it makes on the first GPU there is.
        with keras.device(str(x.device)):
            return super().forward(x)


def functional_of(model: Any) -> Any | None:
    """The functional model behind a Keras model; ``None`` of one that is a program (a subclass)."""
    import keras

    if isinstance(model, keras.Sequential):
        return getattr(model, "_functional", None)
    return model if hasattr(model, "_run_through_graph") else None


def _part(operation: Any, left_out: Any) -> nn.Module | None:
    """The module for a layer, or for a function such as ``keras.ops.add``; ``None`` for inputs."""
    if operation is left_out:
        return LeftOut()
    if type(operation).__name__ == "InputLayer":
        return None
    if not isinstance(operation, nn.Module):
        return KerasOperation(operation)
    inner = functional_of(operation) if hasattr(operation, "layers") else None
    return KerasLayer(operation) if inner is None else KerasGraph(inner, left_out)


def _own_name(variable: Any, layer: Any) -> str:
    """``kernel`` for ``stem/kernel``."""
    return re.sub(r"\W", "_", variable.path.removeprefix(f"{layer.name}/"))


def channels_last(model: Any) -> bool:
    """Whether a model takes (N, H, W, C), as its first layer that knows says it."""
    import keras

    said = [getattr(layer, "data_format", None) for layer in model.layers]
    known = [form for form in said if form is not None]
    return (known[0] if known else keras.config.image_data_format()) == "channels_last"


def without_softmax(model: Any) -> Any | None:
    """Make a model end in logits: the last layer if it is a softmax alone, which is to be left out.

    Losses are of logits. A softmax that is part of the last layer is taken off it.
    """
    import keras

    last = model.outputs[0]._keras_history.operation
    inner = functional_of(last) if hasattr(last, "layers") else None
    if inner is not None:
        return without_softmax(inner)
    kind, activation = type(last).__name__, getattr(last, "activation", None)
    softmax = activation is keras.activations.softmax
    if kind == "Softmax" or (kind == "Activation" and softmax):
        return last
    if softmax:
        last.activation = keras.activations.linear
    return None


def wrapped(model: Any, what: str, *, reversed_channels: bool = False) -> KerasModel:
    """A Keras model as a module that takes images as the package has them, and gives logits.

    Raises
    ------
    CheckpointError : if it is no graph of layers, or takes anything but one tensor of images.
    """
    functional = functional_of(model)
    if functional is None:
        raise CheckpointError(
            f"{what} is a {type(model).__name__}, no functional or sequential model of Keras with a known "
            "input: its layers cannot be told apart. Write a function that makes a torch module of it, "
            "and name that with python:MODULE:FACTORY"
        )
    shapes = [tuple(tensor.shape) for tensor in functional.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise CheckpointError(
            f"{what} takes {', '.join(map(str, shapes))}, and models that take one batch of images are read"
        )
    return KerasModel(
        functional,
        channels_last=channels_last(functional),
        reversed_channels=reversed_channels,
        left_out=without_softmax(functional),
    )


def input_size(model: Any) -> tuple[int, int, int] | None:
    """Channels, height and width of what a Keras model takes; ``None`` where it leaves one open."""
    shape = tuple(model.inputs[0].shape)[1:]
    if len(shape) != 3 or any(side is None for side in shape):
        return None
    first, second, third = shape
    return (third, first, second) if channels_last(functional_of(model)) else (first, second, third)
