"""The operations of a Keras model → the paths of their modules: a unit's sum has its block's name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from functools import reduce
from typing import Any

_SUMS = {"Add", "CustomScaleLayer"}
"""Operations that add up what they are given; the second is InceptionResNetV2's."""

_ACTIVATIONS = {"Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Gelu", "Silu", "HardSilu", "Tanh"}
"""Functions that may follow a sum, as Keras' activation layers may."""


def paths_of(model: Any, taken: Collection[str] = ()) -> dict[str, str]:
    """What to call each operation: its Keras name, and a sum after its block.

    The units of a residual network are named after their sums: ``conv2_block1``, where Keras' sum is called
    ``conv2_block1_out``, as other layers of that block begin the same way. Norms and activations of the
    block lie inside it (``conv1_block1.conv1_block1_relu``): so it is known whether what is between two sums
    ends the first unit, begins the second, or is a layer of its own.

    Parameters
    ----------
    taken : names that no part may have.
    """
    named = {key: _free(name, taken) for key, name in _part_names(model).items()}
    holders = _holders(model, named)
    return {
        key: f"{named[holders[key]]}.{name}" if key in holders else name
        for key, name in named.items()
    }


def _free(name: str, taken: Collection[str]) -> str:
    """The name without dots, and none that a module has for its own."""
    clean = name.replace(".", "_")
    return f"{clean}_" if clean in taken or not clean else clean


def _part_names(model: Any) -> dict[str, str]:
    own = [operation.name for operation in model.operations]
    blocks = {operation.name: _block(operation) for operation in _sums(model)}
    often = Counter([*own, *blocks.values()])
    # A name that two have, or that says nothing, is none.
    good = {key for key, name in blocks.items() if name and often[name] == 1}
    return {name: blocks[name] if name in good else name for name in own}


def _sums(model: Any) -> list[Any]:
    """The operations that add up two tensors or more."""
    return [
        operation
        for operation in model.operations
        if type(operation).__name__ in _SUMS and len(_before(operation)) > 1
    ]


def _before(operation: Any) -> list[Any]:
    """The operations whose results it takes."""
    nodes = operation._inbound_nodes[:1]
    return list(dict.fromkeys(parent.operation for node in nodes for parent in node.parent_nodes))


def _block(operation: Any) -> str:
    """What the names of a block's layers all begin with; ``""`` where nothing is shared."""
    of_one_term = _named(_of_one_term(operation))
    if not _numbered(operation):
        before = _named(_before(operation)) or of_one_term
        return max((_shared_words(operation.name, name) for name in before), key=len, default="")
    # Its own name says nothing: then the names of what only one of its terms is made from.
    shared = reduce(_shared_words, of_one_term) if of_one_term else ""
    return shared.rpartition("_")[0] if shared in of_one_term else shared


def _named(operations: list[Any]) -> list[str]:
    """The names that Keras did not make up."""
    return [operation.name for operation in operations if not _numbered(operation)]


def _of_one_term(operation: Any) -> list[Any]:
    """The operations that lead to some terms of a sum and not to all: its branch, and its projection."""
    leading = [_leading_to(term) for term in _before(operation)]
    shared = set.intersection(*(set(found) for found in leading))
    return [layer for found in leading for layer in found if layer not in shared]


def _leading_to(operation: Any) -> list[Any]:
    """The operation and all that its result is made from."""
    found = {operation: None}
    todo = [operation]
    while todo:
        new = [layer for layer in _before(todo.pop()) if layer not in found]
        found.update(dict.fromkeys(new))
        todo.extend(new)
    return list(found)


def _holders(model: Any, named: Mapping[str, str]) -> dict[str, str]:
    """The sum in whose module an activation or a norm lies, by the Keras names of both."""
    sums = {operation.name for operation in _sums(model)}
    readers = Counter(
        before.name for operation in model.operations for before in _before(operation)
    )
    holders: dict[str, str] = {}
    for operation in model.operations:
        before = _before(operation)
        if operation.name in sums or len(before) != 1 or not _goes_with_a_sum(operation):
            continue
        only = before[0].name
        by_name = [name for name in sums if operation.name.startswith(f"{named[name]}_")]
        if by_name:  # of `conv_1_relu` the block `conv_1` and not `conv`
            holders[operation.name] = max(by_name, key=lambda name: len(named[name]))
        elif _is_activation(operation) and only in sums and readers[only] == 1:
            holders[operation.name] = only
    return holders


def _goes_with_a_sum(operation: Any) -> bool:
    """Whether it may belong to a unit beside its branch: an activation, a norm, a dropout."""
    kind = type(operation).__module__
    return _is_activation(operation) or any(
        f".layers.{package}." in kind for package in ("normalization", "regularization")
    )


def _is_activation(operation: Any) -> bool:
    kind = type(operation)
    return ".layers.activations." in kind.__module__ or kind.__name__ in _ACTIVATIONS


def _numbered(operation: Any) -> bool:
    """Whether Keras made up the name: ``conv2d_3``."""
    kind = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(operation).__name__).lower()
    name = re.sub(r"_\d+$", "", operation.name)
    return name.replace("_", "") == kind.replace("_", "")


def _shared_words(first: str, second: str) -> str:
    shared: list[str] = []
    for one, other in zip(first.split("_"), second.split("_"), strict=False):
        if one != other:
            break
        shared.append(one)
    return "_".join(shared)
