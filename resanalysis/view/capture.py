"""A model and an example → its data-flow graph, with every operation out of place."""

from __future__ import annotations

import inspect
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram

from resanalysis.network import Inputs
from resanalysis.view.calling import as_arguments, described, of_size
from resanalysis.view.errors import UnravelError
from resanalysis.view.functional import (
    allow_any_layout,
    drop_transparent,
    freeze,
    made_functional,
)
from resanalysis.view.rows import keep_tokens_apart
from resanalysis.view.undisturbed import evaluation_mode
from resanalysis.view.versions import graph_of


@dataclass(frozen=True, eq=False)
class Captured:
    """A model as a graph of functional tensor operations.

    Attributes
    ----------
    module : holds the weights (detached, sharing storage with the model's) and the graph.
    inputs : the placeholders that take the model's tensor inputs, in flattened order.
    returned : what the model returns, nested as it returns it, with graph nodes for tensors.
    leaves : everything the model returns, flattened: nodes, and constants.
    in_spec, out_spec : how the model's arguments, and what it returns, are nested.
    batch_size : ``None`` where the graph takes any batch, else the only size it takes.
    """

    module: fx.GraphModule
    inputs: tuple[fx.Node, ...]
    returned: Any
    leaves: tuple[Any, ...]
    in_spec: Any
    out_spec: Any
    batch_size: int | None


def capture(model: nn.Module, example: Inputs, sizes: Any = None) -> Captured:
    """Capture ``model`` in eval mode with any batch size.

    Parameters
    ----------
    sizes : for positional arguments, nested like them: the dimensions of each tensor that change with
        the batch; dimension 0 of every tensor if left out.

    Raises
    ------
    UnravelError : if the model's control flow depends on values, or it cannot be called with
        ``example``; the message names the line of the model.
    """
    # Two rows are enough for a capture, and one would be taken for the only size there is.
    program = _export(model, example if sizes is not None else of_size(example, 2), sizes)
    module = graph_of(program)
    batch_size = _fixed_batch_size(module.graph, sizes is not None)
    if batch_size is not None and sizes is None:  # then of the size the user gave
        program = _export(model, example, sizes)
        module = graph_of(program)
        batch_size = _fixed_batch_size(module.graph, False)
    # A piece is given streams that others keep, the evaluator's tree for one: an operation in place would
    # change what they read later.
    if not made_functional(module):
        module = graph_of(program.run_decompositions({}))
    freeze(module)
    # In this order: rows of tokens are found by their reshapes, so views must be reshapes by then, and no copy
    # may stand between them.
    allow_any_layout(module.graph)
    drop_transparent(module.graph)
    keep_tokens_apart(module.graph)
    returned = module.graph.output_node().args[0]
    leaves = pytree.tree_leaves(returned)
    out_spec = program.call_spec.out_spec
    nested = returned if out_spec is None else pytree.tree_unflatten(leaves, out_spec)
    return Captured(
        module=module,
        inputs=tuple(node for node in module.graph.nodes if node.op == "placeholder"),
        returned=nested,
        leaves=tuple(leaves),
        in_spec=program.call_spec.in_spec,
        out_spec=out_spec,
        batch_size=batch_size,
    )


def example_value(leaf: Any) -> Any:
    """What a leaf of ``returned`` holds in the captured run, with symbolic sizes; ``None`` for a constant."""
    return leaf.meta.get("val") if isinstance(leaf, fx.Node) else None


def _export(model: nn.Module, example: Inputs, sizes: Any) -> ExportedProgram:
    args, kwargs = as_arguments(example)
    with evaluation_mode(model), torch.no_grad():
        try:
            # Run before it is captured: an example that does not fit is told apart from a model that cannot be
            # captured.
            model(*args, **kwargs)
        except (Exception, SystemExit) as error:
            raise UnravelError(
                f"{type(model).__name__} cannot be called with the example "
                f"({described(example)}): {_first_line(error)}"
            ) from error
        shapes = _batch_dimensions(model, args, kwargs) if sizes is None else sizes
        try:
            # Not strict: the model's own Python runs, on tensors without data, where Dynamo would have to know
            # every statement in it.
            return torch.export.export(model, args, kwargs, dynamic_shapes=shapes, strict=False)
        except (Exception, SystemExit) as error:
            raise UnravelError(
                f"the control flow of {type(model).__name__} cannot be captured as a graph"
                f"{_user_line(error)}: {_first_line(error)}. Try another example input, or analyse a "
                "part without that line (--submodule PATH)"
            ) from error


def _batch_dimensions(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Dimension 0 of every tensor, by the parameter of ``forward`` that takes it.

    Bound to the signature, because ``forward(self, *args)`` takes all of them as one tuple.
    """

    def dynamic(value: Any) -> Any:
        return {0: Dim.AUTO} if isinstance(value, Tensor) and value.ndim else None

    bound = inspect.signature(model.forward).bind(*args, **kwargs).arguments
    return {name: pytree.tree_map(dynamic, value) for name, value in bound.items()}


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _user_line(error: BaseException) -> str:
    """The innermost line outside torch that the error passed through."""
    library = Path(torch.__file__).parent
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if library not in Path(frame.filename).parents and frame.filename != __file__
    ]
    if not frames:
        return ""
    last = frames[-1]
    return f", at {Path(last.filename).name}:{last.lineno} `{(last.line or '').strip()}`"


def _fixed_batch_size(graph: fx.Graph, anywhere: bool) -> int | None:
    """The batch size the graph was specialised to, if it was.

    Parameters
    ----------
    anywhere : whether any dimension of an input may be the batch's, as in a part that takes tokens first.
    """
    values = [node.meta.get("val") for node in graph.nodes if node.op == "placeholder"]
    shapes = [value.shape for value in values if isinstance(value, Tensor) and value.ndim]
    looked_at = [length for shape in shapes for length in shape] if anywhere else []
    if not shapes or any(map(_is_free, looked_at)) or _is_free(shapes[0][0]):
        return None
    return int(shapes[0][0])


def _is_free(size: Any) -> bool:
    # `Dim.AUTO` lets a size that the model's code asks about (`if len(x) == 2`) become a number without a word.
    return isinstance(size, torch.SymInt) and not size.node.expr.is_number
