"""Whether a model can be called with the data at hand, said before anything is unraveled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, fx, nn

from resanalysis.checkpoint.errors import first_line
from resanalysis.checkpoint.info import ModelInfo
from resanalysis.checkpoint.user_function import source_file
from resanalysis.datasets.errors import DataError
from resanalysis.errors import out_of_memory, raised
from resanalysis.network import Inputs


def check_fit(
    model: nn.Module, example: Inputs, info: ModelInfo | None, name: str, source: str
) -> None:
    """Call a model with two examples.

    Parameters
    ----------
    model : in eval mode.
    example : a batch of what it will be called with.
    info : what is known of the model, its input size for one.
    name, source : what the user calls the model, and where the example comes from.

    Raises
    ------
    DataError : if the call fails: says what the data is, and what the model takes as far as known.
    """
    few = pytree.tree_map(lambda value: value[:2] if _batched(value) else value, example)
    try:
        with torch.no_grad():
            if isinstance(few, Mapping):
                model(**few)
            elif isinstance(few, tuple):
                model(*few)
            else:
                model(few)
    except (Exception, SystemExit) as error:
        if out_of_memory(error):
            raise
        what = f"{type(error).__name__}: {_reason(error)}"
        if name.startswith("python:"):
            what = raised(error, source_file(type(model)))
        raise DataError(
            f"{name} cannot be called with {source}: it gives {_given(example)}, and the model takes "
            f"{_taken(model, info)} ({what}). "
            f"{_advice(model, info, error)}"
        ) from error


def _reason(error: BaseException) -> str:
    return first_line(error).partition(". If you meant")[0].rstrip(".")


def _batched(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0


def _given(example: Inputs) -> str:
    leaves = [leaf for leaf in pytree.tree_leaves(example) if isinstance(leaf, Tensor)]
    if isinstance(example, Mapping) and "input_ids" in example:
        return f"token ids, {example['input_ids'].shape[1]} a sequence"
    if isinstance(example, Tensor) and example.ndim == 4:
        return f"images of {_size(example.shape[1:])}"
    return ", ".join(f"{str(leaf.dtype)[6:]} {tuple(leaf.shape)}" for leaf in leaves) or "no tensor"


def _taken(model: nn.Module, info: ModelInfo | None) -> str:
    """The input a model is made for, from what it records of itself."""
    first = _first_layer(model)
    if isinstance(first, nn.Embedding):
        return f"token ids below {first.num_embeddings}"
    size = _input_size(model, info)
    if size is not None:
        return f"images of {_size(size)}"
    if first is not None:
        return f"images of {first.in_channels} channel{'s' if first.in_channels > 1 else ''}"
    return "another input, of which it does not record the shape"


def taken_by(model: nn.Module, info: ModelInfo | None) -> str:
    """The input a model is made for and its outputs, as far as known, in words."""
    text = _taken(model, info)
    built = None if info is None else info.built
    first = _first_layer(model)
    if built is not None and built.own and isinstance(first, nn.Conv2d) and "×" not in text:
        text += f", such as {first.in_channels}×32×32"  # what all our families were published for
    outputs = _outputs(model, info)
    return text if outputs is None else f"{text}, and has {outputs} outputs"


def _outputs(model: nn.Module, info: ModelInfo | None) -> int | None:
    if info is not None and info.classes:
        return len(info.classes)
    if isinstance(_first_layer(model), nn.Embedding):
        return None
    linear = [part for part in model.modules() if isinstance(part, nn.Linear)]
    return linear[-1].out_features if linear else None


def _first_layer(model: nn.Module) -> nn.Conv2d | nn.Embedding | None:
    for part in model.modules():
        if isinstance(part, nn.Conv2d | nn.Embedding):
            return part
    return None


def _input_size(model: nn.Module, info: ModelInfo | None) -> tuple[int, ...] | None:
    if info is not None and info.preprocessing is not None and info.preprocessing.input_size:
        return info.preprocessing.input_size
    exported = _exported_size(model) if isinstance(model, fx.GraphModule) else None
    if exported is not None:
        return exported
    first = _first_layer(model)
    side = getattr(model, "image_size", None)
    if not isinstance(side, int):
        side = getattr(getattr(model, "config", None), "image_size", None)
    if isinstance(first, nn.Conv2d) and isinstance(side, int):
        return first.in_channels, side, side
    return None


def _exported_size(model: fx.GraphModule) -> tuple[int, ...] | None:
    """What an exported program was traced with, where it fixed it: a size it left open is a symbol."""
    for node in model.graph.find_nodes(op="placeholder"):
        shape = getattr(node.meta.get("val"), "shape", ())
        if len(shape) == 4 and all(isinstance(number, int) for number in shape[1:]):
            return tuple(shape[1:])
    return None


def _advice(model: nn.Module, info: ModelInfo | None, error: BaseException) -> str:
    if isinstance(model, fx.GraphModule) and "shape[0]" in str(error):
        return "Export it again for any batch size: dynamic_shapes with Dim.AUTO for dimension 0"
    if isinstance(_first_layer(model), nn.Embedding):
        return "Give it --data tokens:FILE.npz or text:FILE"
    size = _input_size(model, info)
    if size is not None:
        square = len(size) == 3 and size[0] == 3 and size[1] == size[2]
        folder = f"; folder:DIR with --image-size {size[1]} reads images so" if square else ""
        return f"Give it data of that shape{folder}"
    return f"Give it {_taken(model, info)}" if _first_layer(model) else "Give it such data"


def _size(shape: tuple[int, ...] | torch.Size) -> str:
    return "×".join(str(number) for number in shape)
