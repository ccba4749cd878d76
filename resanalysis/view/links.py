"""The trunk → where each unit begins and ends: its join, the bridge before it, its shared prefix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from resanalysis.view.naming import inside, module_path
from resanalysis.view.trunk import Addition, Trunk, is_float


@dataclass(frozen=True, eq=False)
class Link:
    """One unit's place on the trunk.

    Attributes
    ----------
    entry : the stream before the unit.
    addition : the residual addition; between ``entry`` and its split lies what skip and branch share.
    exit : the stream after the join.
    """

    entry: fx.Node
    addition: Addition
    exit: fx.Node


def link(trunk: Trunk) -> list[Link]:
    """Divide the trunk between the units.

    What follows an addition is its join as far as it lies in the module of the addition (the ReLU of
    He et al. 2015, the LayerNorm of BERT); what precedes a split is shared by skip and branch as far as
    it lies in the module of the next addition (the pre-activation of a He et al. 2016 transition). What
    remains between is a bridge. Where one module holds several additions, only what follows most of
    them is a join.
    """
    position = {node: index for index, node in enumerate(trunk.nodes)}
    additions = trunk.additions
    starts = [position[addition.node] for addition in additions]
    splits = [position[addition.split] for addition in additions]
    # What can be a join ends where the stream parts for the next unit.
    ends = [*splits[1:], len(trunk.nodes) - 1]
    after = [trunk.nodes[start + 1 : end + 1] for start, end in zip(starts, ends, strict=True)]
    paths = [module_path(addition.node) for addition in additions]
    holds = Counter(paths)
    links: list[Link] = []
    for index, addition in enumerate(additions):
        # Units never overlap: a unit enters no earlier than the one before left, its split and its addition lie
        # within, and what nobody claims is a bridge.
        join = _join_length(index, after, paths, holds)
        exit_at = _tensor_at(trunk.nodes, starts[index] + join, step=1)
        entry_at, floor = splits[index], position[links[-1].exit] if links else 0
        # Of a module with several additions, what lies before one may be the end of another.
        if paths[index] and holds[paths[index]] == 1:
            entry_at = _module_start(trunk.nodes, entry_at, floor, paths[index])
        entry_at = max(floor, _tensor_at(trunk.nodes, entry_at, step=-1))
        links.append(Link(trunk.nodes[entry_at], addition, trunk.nodes[exit_at]))
    return links


def _module_start(nodes: Sequence[fx.Node], index: int, floor: int, path: str) -> int:
    """The position before the operations of module ``path`` that lead to ``index``; at least ``floor``."""
    while index > floor and inside(module_path(nodes[index]), path):
        index -= 1
    return index


def _join_length(
    index: int,
    after: Sequence[Sequence[fx.Node]],
    paths: Sequence[str],
    holds: Counter[str],
) -> int:
    """How many of the operations that follow addition ``index`` on the trunk are its join.

    Parameters
    ----------
    after : for each addition, what follows it up to the next split.
    paths : module path of each addition.
    holds : how many additions each module holds.
    """
    path = paths[index]
    siblings = [after[other] for other, sibling in enumerate(paths) if sibling == path]
    length = 0
    for offset, node in enumerate(after[index]):
        if not inside(module_path(node), path):
            break
        if holds[path] > 1:
            # A loop over layers in one forward: the ReLU after each of them is a join; the pooling after
            # the last one is not.
            if not _follows_most(offset, node, siblings):
                break
        elif not path and not _is_activation(node):
            break  # everything lies inside the model itself, so being inside says nothing
        length += 1
    return length


def _follows_most(offset: int, node: fx.Node, siblings: Sequence[Sequence[fx.Node]]) -> bool:
    """Whether more than half of a module's additions have this operation at this place behind them."""
    same = sum(offset < len(after) and after[offset].target == node.target for after in siblings)
    return 2 * same > len(siblings)


def _is_activation(node: fx.Node) -> bool:
    inputs = [before for before in node.all_input_nodes if is_float(before)]
    return len(inputs) == 1 and torch.Tag.pointwise in getattr(node.target, "tags", ())


def _tensor_at(nodes: Sequence[fx.Node], index: int, *, step: int) -> int:
    """The nearest position whose value is one tensor, not a tuple of them."""
    while 0 < index < len(nodes) - 1 and not isinstance(nodes[index].meta.get("val"), Tensor):
        index += step
    return index
