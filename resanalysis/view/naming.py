"""Module paths of graph nodes, and the names of units made from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from torch import fx


def module_path(node: fx.Node) -> str:
    """Path of the innermost module whose forward made this node; ``""`` is the model itself."""
    stack = node.meta.get("nn_module_stack")
    return str(list(stack.values())[-1][0]) if stack else ""


def inside(path: str, module: str) -> bool:
    """Whether ``path`` is ``module`` or lies below it; everything lies below the model itself."""
    return not module or path == module or path.startswith(module + ".")


def common_path(paths: Iterable[str]) -> str:
    """The deepest module that holds all of ``paths``."""
    split = [path.split(".") if path else [] for path in paths]
    shared: list[str] = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared)


def layer_path(path: str) -> str:
    """The numbered module a path lies in: ``encoder.layer.3`` for ``encoder.layer.3.output``."""
    parts = path.split(".")
    numbered = [index for index, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[: numbered[-1] + 1]) if numbered else path


def _branch_module(addition_path: str, weights: Mapping[str, int]) -> str:
    """The module that holds most of a branch's weights, one step below the module of the addition.

    Where none holds more than half, as where a bypass makes one unit of two modules, a unit that was called
    after one would seem to leave the other in place: then ``blocks.1.first+second``.
    """
    shared = common_path(weights)
    if shared != addition_path and inside(shared, addition_path):
        return shared
    children = _by_child(addition_path, weights)
    if not children:
        return addition_path
    child, most = children.most_common(1)[0]
    total = children.total()
    # What holds less than a quarter, a norm or a gate, gives no name.
    large = [path.rpartition(".")[2] for path, count in children.items() if 4 * count >= total]
    if 2 * most <= total and len(large) > 1:
        return ".".join(filter(None, (addition_path, "+".join(large))))
    return common_path(path for path in weights if inside(path, child))


def _by_child(module: str, weights: Mapping[str, int]) -> Counter[str]:
    """How many weights lie in each of the modules one step below another."""
    depth = len(module.split(".")) + 1 if module else 1
    children: Counter[str] = Counter()
    for path, count in weights.items():
        if path != module and inside(path, module):
            children[".".join(path.split(".")[:depth])] += count
    return children


def unit_names(addition_paths: Sequence[str], weights: Sequence[Mapping[str, int]]) -> list[str]:
    """A different name for every unit.

    Parameters
    ----------
    addition_paths : module path of each unit's addition.
    weights : module paths of the layers of each unit's branch, in order, with their numbers of weights.

    Returns
    -------
    The addition's module where no other unit has it (``layer2.0``), else the branch's
    (``h.3.attn``), with ``#2``, ``#3`` where even that is shared.
    """
    shared = Counter(addition_paths)
    names = [
        path if path and shared[path] == 1 else _branch_module(path, layers) or "unit"
        for path, layers in zip(addition_paths, weights, strict=True)
    ]
    repeated: Counter[str] = Counter()
    unique: list[str] = []
    for name in names:
        repeated[name] += 1
        unique.append(name if repeated[name] == 1 else f"{name}#{repeated[name]}")
    return unique
