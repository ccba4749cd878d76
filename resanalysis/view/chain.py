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
    ends = [*splits[1:], len(trunk.nodes) - 1]
    after = [trunk.nodes[start + 1 : end + 1] for start, end in zip(starts, ends, strict=True)]
    paths = [module_path(addition.node) for addition in additions]
    holds = Counter(paths)
    joins = [_join_length(index, after, paths, holds) for index in range(len(additions))]

    links: list[Link] = []
    for index, addition in enumerate(additions):
        exit_at = _tensor_at(trunk.nodes, starts[index] + joins[index], step=1)
        floor = 0 if index == 0 else position[links[-1].exit]
        entry_at = splits[index]
        if paths[index] and holds[paths[index]] == 1:
            while entry_at > floor and inside(module_path(trunk.nodes[entry_at]), paths[index]):
                entry_at -= 1
        entry_at = max(floor, _tensor_at(trunk.nodes, entry_at, step=-1))
        links.append(Link(trunk.nodes[entry_at], addition, trunk.nodes[exit_at]))
    return links


def _join_length(
    index: int,
    after: Sequence[Sequence[fx.Node]],
    paths: Sequence[str],
    holds: Counter[str],
) -> int:
    path = paths[index]
    siblings = [other for other, sibling in enumerate(paths) if sibling == path]
    length = 0
    for offset, node in enumerate(after[index]):
        if not inside(module_path(node), path):
            break
        if holds[path] > 1:
            same = sum(
                offset < len(after[other]) and after[other][offset].target == node.target
                for other in siblings
            )
            if 2 * same <= len(siblings):
                break
        elif not path and not _is_activation(node):
            break
        length += 1
    return length


def _is_activation(node: fx.Node) -> bool:
    inputs = [before for before in node.all_input_nodes if is_float(before)]
    return len(inputs) == 1 and torch.Tag.pointwise in getattr(node.target, "tags", ())


def _tensor_at(nodes: Sequence[fx.Node], index: int, *, step: int) -> int:
    """The nearest position whose value is one tensor, not a tuple of them."""
    while 0 < index < len(nodes) - 1 and not isinstance(nodes[index].meta.get("val"), Tensor):
        index += step
    return index
