"""A model and an example → its data-flow graph, with every operation out of place."""

from __future__ import annotations

import operator
import traceback
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram

from resanalysis.network import Inputs
from resanalysis.view.errors import UnravelError
from resanalysis.view.rows import keep_tokens_apart

# What leaves values as they are in eval mode; the graph is read without it.
_TRANSPARENT = {"dropout", "clone", "contiguous", "alias", "lift_fresh_copy", "to", "_to_copy"}


@dataclass(frozen=True, eq=False)
class Captured:
    """A model as a graph of functional tensor operations.

    Attributes
    ----------
    module : holds the weights (detached, sharing storage with the model's) and the graph.
    inputs : the placeholders that take the model's tensor inputs, in flattened order.
    output : the node whose value is the model's output.
    leaves : everything the model returns, flattened: nodes, and constants.
    in_spec, out_spec : how the model's arguments, and what it returns, are nested.
    batch_size : ``None`` where the graph takes any batch, else the only size it takes.
    """

    module: fx.GraphModule
    inputs: tuple[fx.Node, ...]
    output: fx.Node
    leaves: tuple[Any, ...]
    in_spec: Any
    out_spec: Any
    batch_size: int | None


def as_arguments(example: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of a call with ``example``."""
    if isinstance(example, Tensor):
        return (example,), {}
    if isinstance(example, Mapping):
        return (), dict(example)
    return tuple(example), {}


@contextmanager
def evaluation_mode(model: nn.Module) -> Generator[None, None, None]:
    """Eval mode inside; every module's own training flag is put back."""
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, flag in flags:
            module.training = flag


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
    program, module = _exported(model, example if sizes is not None else of_size(example, 2), sizes)
    batch_size = _fixed_batch_size(module.graph)
    if batch_size is not None and sizes is None:  # then of the size the user gave
        program, module = _exported(model, example, sizes)
        batch_size = _fixed_batch_size(module.graph)
    functional = _made_functional(module)
    if not functional:
        module = program.run_decompositions({}).module(check_guards=False)
        assert isinstance(module, fx.GraphModule)
    _freeze(module)
    _allow_any_layout(module.graph)
    _drop_transparent(module.graph)
    keep_tokens_apart(module.graph)
    return Captured(
        module=module,
        inputs=tuple(node for node in module.graph.nodes if node.op == "placeholder"),
        output=_chosen_output(program, module.graph),
        leaves=tuple(pytree.tree_leaves(_returned(module.graph))),
        in_spec=program.call_spec.in_spec,
        out_spec=program.call_spec.out_spec,
        batch_size=batch_size,
    )


def of_size(example: Inputs, size: int) -> Inputs:
    """The example with ``size`` rows, the first ones over again where it has fewer."""

    def rows(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.ndim == 0:
            return value
        return torch.cat([value] * size)[:size] if len(value) < size else value[:size]

    return pytree.tree_map(rows, example)


def _exported(
    model: nn.Module, example: Inputs, sizes: Any
) -> tuple[ExportedProgram, fx.GraphModule]:
    program = _export(model, example, sizes)
    module = program.module(check_guards=False)
    if not isinstance(module, fx.GraphModule):
        raise UnravelError("torch.export gave no graph for this model")
    return program, module


def _export(model: nn.Module, example: Inputs, sizes: Any) -> ExportedProgram:
    args, kwargs = as_arguments(example)

    def dynamic(value: Any) -> Any:
        return {0: Dim.AUTO} if isinstance(value, Tensor) and value.ndim else None

    shapes: Any = (*(pytree.tree_map(dynamic, arg) for arg in args),)
    if kwargs:
        shapes = {name: pytree.tree_map(dynamic, value) for name, value in kwargs.items()}
    if sizes is not None:
        shapes = sizes
    with evaluation_mode(model), torch.no_grad():
        try:
            model(*args, **kwargs)
        except Exception as error:
            raise UnravelError(
                f"{type(model).__name__} cannot be called with the example "
                f"({_described(example)}): {_first_line(error)}"
            ) from error
        try:
            return torch.export.export(model, args, kwargs, dynamic_shapes=shapes, strict=False)
        except Exception as error:
            raise UnravelError(
                f"the control flow of {type(model).__name__} cannot be captured as a graph"
                f"{_user_line(error)}: {_first_line(error)}. Try another example input, or analyse a "
                "part without that line (--submodule PATH)"
            ) from error


def _described(example: Inputs) -> str:
    leaves = [leaf for leaf in pytree.tree_leaves(example) if isinstance(leaf, Tensor)]
    return ", ".join(f"{str(leaf.dtype)[6:]} {tuple(leaf.shape)}" for leaf in leaves) or "no tensor"


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


def _fixed_batch_size(graph: fx.Graph) -> int | None:
    """The batch size the graph was specialised to, if it was."""
    for node in graph.nodes:
        value = node.meta.get("val")
        if node.op == "placeholder" and isinstance(value, Tensor) and value.ndim:
            size = value.shape[0]
            symbolic = isinstance(size, torch.SymInt) and not size.node.expr.is_number
            return None if symbolic else int(size)
    return None


def _made_functional(module: fx.GraphModule) -> bool:
    """Put simple in-place operations out of place; false where a view of the changed tensor exists."""
    graph = module.graph
    position = {node: index for index, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        if node.op == "call_module":
            graph.erase_node(node)
            continue
        if not isinstance(node.target, torch._ops.OpOverload) or not node.target._schema.is_mutable:
            continue
        written = [
            argument
            for argument in node.target._schema.arguments
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        changed = node.args[0] if node.args else None
        functional = _functional_overload(node.target)
        if len(written) != 1 or not isinstance(changed, fx.Node) or functional is None:
            return False
        if changed.op in {"get_attr", "placeholder"} or _is_view(changed):
            return False
        if any(_is_view(user) for user in changed.users if position[user] < position[node]):
            return False
        node.target = functional
        changed.replace_all_uses_with(
            node,
            delete_user_cb=lambda user, node=node: (
                user is not node and position[user] > position[node]
            ),
        )
    module.recompile()
    return True


def _functional_overload(target: Any) -> Any:
    namespace, _, name = target._schema.name.partition("::")
    if not name.endswith("_"):
        return None
    packet = getattr(getattr(torch.ops, namespace), name[:-1], None)
    return getattr(packet, target._overloadname, None) if packet is not None else None


def _is_view(node: fx.Node) -> bool:
    if node.target is operator.getitem:
        return True
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and any(
        argument.alias_info is not None and not argument.alias_info.is_write
        for argument in target._schema.arguments
    )


def _freeze(module: fx.GraphModule) -> None:
    """Weights as constants that share storage with the model's: moving them leaves the model alone."""
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            frozen = nn.Parameter(parameter.detach(), requires_grad=False)
            part.register_parameter(name, frozen)


def _allow_any_layout(graph: fx.Graph) -> None:
    """Reshape instead of view: pieces run on streams of other strides than the model's own."""
    for node in graph.nodes:
        if node.target in {torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default}:
            node.target = torch.ops.aten.reshape.default


def _drop_transparent(graph: fx.Graph) -> None:
    for node in list(graph.nodes):
        if not isinstance(node.target, torch._ops.OpOverload):
            continue
        name = node.target._schema.name.partition("::")[2]
        if name == "_assert_tensor_metadata":
            graph.erase_node(node)
        elif name in _TRANSPARENT and isinstance(node.args[0], fx.Node):
            before, after = node.args[0].meta.get("val"), node.meta.get("val")
            if (
                isinstance(before, Tensor)
                and isinstance(after, Tensor)
                and before.dtype == after.dtype
                and before.device == after.device
                and before.shape == after.shape
            ):
                node.replace_all_uses_with(node.args[0])
                graph.erase_node(node)


def _chosen_output(program: ExportedProgram, graph: fx.Graph) -> fx.Node:
    """The model's logits: the field of that name, else the first float tensor it returns."""
    leaves = pytree.tree_leaves(_returned(graph))
    paths = [str(path) for path, _ in _output_paths(program, leaves)]
    candidates = [
        (path, leaf)
        for path, leaf in zip(paths, leaves, strict=True)
        if isinstance(leaf, fx.Node)
        and isinstance(leaf.meta.get("val"), Tensor)
        and leaf.meta["val"].is_floating_point()
    ]
    if not candidates:
        raise UnravelError("the model returns no float tensor")
    for wanted in ("logits", "out"):
        for path, leaf in candidates:
            if wanted in path:
                return leaf
    return candidates[0][1]


def _returned(graph: fx.Graph) -> Any:
    return next(node for node in graph.nodes if node.op == "output").args[0]


def _output_paths(program: ExportedProgram, leaves: list[Any]) -> list[tuple[str, Any]]:
    spec = program.call_spec.out_spec
    if spec is None:
        return [("", leaf) for leaf in leaves]
    tree = pytree.tree_unflatten(leaves, spec)
    return [(pytree.keystr(path), leaf) for path, leaf in pytree.tree_leaves_with_path(tree)]
