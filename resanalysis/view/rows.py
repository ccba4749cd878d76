"""Residual additions on flattened tokens, (N·T, C), put back to one row of tokens an example, (N, T, C).

Some models (OPT) flatten their tokens for the MLP and its skip. The stream would change its shape there and
back, and an example would have no row of its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

_aten = torch.ops.aten
# Operations that treat each row alone, whatever dimensions stand before the last.
_BY_ROW = {
    _aten.linear.default, _aten.layer_norm.default, _aten.rms_norm.default, _aten.relu.default,
    _aten.gelu.default, _aten.silu.default, _aten.tanh.default, _aten.sigmoid.default,
    _aten.add.Tensor, _aten.mul.Tensor, _aten.dropout.default,
}  # fmt: skip


def keep_tokens_apart(graph: fx.Graph) -> None:
    """Remove each pair of reshapes between which rows of tokens are added to what they were made from."""
    for node in list(graph.nodes):
        if _flattens(node):
            region = _region(node)
            if region is not None:
                _unflatten(graph, node, *region)


def _flattens(node: fx.Node) -> bool:
    if node.target is not _aten.reshape.default or not isinstance(node.args[0], fx.Node):
        return False
    before, after = node.args[0].meta.get("val"), node.meta.get("val")
    return (
        isinstance(before, Tensor)
        and isinstance(after, Tensor)
        and (before.ndim, after.ndim) == (3, 2)
        and _same(before.shape[-1], after.shape[-1])
    )


def _region(start: fx.Node) -> tuple[list[fx.Node], list[fx.Node]] | None:
    """What is computed row by row, and the reshapes that end it; ``None`` if anything else reads a row."""
    tokens = start.args[0]
    assert isinstance(tokens, fx.Node)
    inside: list[fx.Node] = []
    ends: list[fx.Node] = []
    rows = {start}
    # The graph is in order of computation: a row is known before whoever reads it.
    for node in start.graph.nodes:
        if not any(before in rows for before in node.all_input_nodes):
            continue
        if _restores(node, tokens):
            ends.append(node)
        elif _by_row(node, rows):
            inside.append(node)
            rows.add(node)
        # A sum over tokens, or an index of one, would mean something else with the rows apart.
        else:
            return None
    # Without a residual addition among the rows the stream never passes through them.
    return (inside, ends) if ends and any(_adds_rows(node, rows) for node in inside) else None


def _by_row(node: fx.Node, rows: set[fx.Node]) -> bool:
    return node.target in _BY_ROW and all(
        before in rows or before.op == "get_attr" for before in node.all_input_nodes
    )


def _adds_rows(node: fx.Node, rows: set[fx.Node]) -> bool:
    return node.target is _aten.add.Tensor and all(part in rows for part in node.all_input_nodes)


def _restores(node: fx.Node, tokens: fx.Node) -> bool:
    value, like = node.meta.get("val"), tokens.meta["val"]
    if node.target is not _aten.reshape.default or not isinstance(value, Tensor):
        return False
    row = node.all_input_nodes[0].meta["val"]
    return (
        value.ndim == 3
        and all(_same(a, b) for a, b in zip(value.shape[:2], like.shape[:2], strict=True))
        and _same(value.shape[-1], row.shape[-1])
    )


def _same(one: Any, other: Any) -> bool:
    """Whether two lengths, symbolic ones too, are the same expression."""
    expressions = [
        length.node.expr if isinstance(length, torch.SymInt) else length for length in (one, other)
    ]
    return expressions[0] == expressions[1]


def _unflatten(graph: fx.Graph, start: fx.Node, inside: list[fx.Node], ends: list[fx.Node]) -> None:
    tokens = start.args[0]
    assert isinstance(tokens, fx.Node)
    lead = tokens.meta["val"].shape[:2]
    # What comes after reads shapes, the stream's and the batch's, off these values.
    for node in inside:
        value = node.meta["val"]
        node.meta["val"] = value.reshape(*lead, value.shape[-1])
    start.replace_all_uses_with(tokens)
    graph.erase_node(start)
    for end in ends:
        end.replace_all_uses_with(end.all_input_nodes[0])
        graph.erase_node(end)
