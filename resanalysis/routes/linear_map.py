"""One affine map of the stream's channels, where units have been, and the neighbours that can take it in."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from resanalysis.network import ResidualNetwork
from resanalysis.routes.taken_out import taken_out
from resanalysis.statistics.least_squares import Affine

_aten = torch.ops.aten
_LINEAR = (_aten.conv2d.default, _aten.linear.default)
# They take means over places, or only move values: a map of channels can as well come behind them.
_COMMUTING = {
    _aten.adaptive_avg_pool2d.default, _aten.mean.dim, _aten.flatten.using_ints, _aten.view.default,
    _aten.reshape.default, _aten.squeeze.dims, _aten.dropout.default,
}  # fmt: skip


def channel_axis(shape: Sequence[int]) -> int:
    """Which axis of a stream (N, …) holds the channels, from its shape without N.

    The last of vectors and sequences. Of maps it is the first, unless the first two sizes are equal and the
    last is another: (H, W, C), as in Swin.
    """
    if len(shape) != 3:
        return len(shape) if len(shape) < 3 else 1
    height_first = shape[0] == shape[1] != shape[2]
    return 3 if height_first else 1


def by_channel(h: Tensor) -> Tensor:
    """A stream as rows (M, C), one for each place."""
    return h.movedim(channel_axis(h.shape[1:]), -1).flatten(0, -2)


class ChannelMap(nn.Module):
    """An affine map of the channels, the same at every place.

    Parameters
    ----------
    affine : the map.
    axis : where the stream has its channels.
    like : a tensor of the device and type to have.
    """

    def __init__(self, affine: Affine, axis: int, like: Tensor) -> None:
        super().__init__()
        self.axis = axis
        weight, bias = torch.from_numpy(affine.weight.T.copy()), torch.from_numpy(affine.bias)
        self.weight = nn.Parameter(weight.to(like), requires_grad=False)
        self.bias = nn.Parameter(bias.to(like), requires_grad=False)

    def forward(self, h: Tensor) -> Tensor:
        if self.axis == 1 and h.ndim == 4:
            return F.conv2d(h, self.weight[:, :, None, None], self.bias)
        return F.linear(h.movedim(self.axis, -1), self.weight, self.bias).movedim(-1, self.axis)


def with_maps(
    network: ResidualNetwork,
    units: Sequence[int],
    maps: Mapping[int, ChannelMap],
    *,
    fold: bool = True,
) -> ResidualNetwork:
    """``taken_out``, with maps behind some of the units that are gone.

    A map is folded into what the stream passed last before it, where that ends in a convolution or a linear
    layer: the projection of its own unit, the stem or a bridge, with identities alone between. Behind the last
    unit it is folded into a linear layer that the head begins with, means over places aside. Elsewhere the
    stream before and behind it is a sum or passes a non-linearity, and the map stays a layer of its own.

    Parameters
    ----------
    maps : by the unit that each is behind: the last of a span that is gone.
    fold : leave all maps as they are if not; the function is the same up to rounding.
    """
    bare = taken_out(network, units)
    changed: dict[str, nn.Module] = {}
    staying = dict(maps)
    for last in maps if fold else ():
        folded = _folded(bare, frozenset(units), last, maps[last])
        # One part takes one map: a second one would not know of the first.
        if folded and not changed.keys() & folded.keys():
            changed |= folded
            del staying[last]
    made = taken_out(network, units, staying)
    return made.with_parts(made.parts() | changed)


def _folded(
    bare: ResidualNetwork, gone: frozenset[int], last: int, channel_map: ChannelMap
) -> dict[str, nn.Module]:
    """The parts that take the map in, by name; none where there is none that can."""
    before = _part_before(bare, gone, last)
    made = None if before is None else _ending_with(bare.parts()[before], channel_map)
    if before is not None and made is not None:
        # A unit that is gone runs its skip as the whole of it.
        names = [before, before.replace(".skip", ".whole")] if ".skip" in before else [before]
        return dict.fromkeys(names, made)
    at_head = last == len(bare) - 1 and len(bare) not in bare.taps
    made = _beginning_with(bare.head, channel_map) if at_head else None
    return {} if made is None else {"head": made}


def _part_before(bare: ResidualNetwork, gone: frozenset[int], last: int) -> str | None:
    """The part whose output the map would read if all identities were left out; ``None`` for a sum."""
    for unit in reversed(bare.units[: last + 1]):
        # A unit that is there ends in a sum, whose terms would all have to be mapped; and no map goes past a
        # ReLU.
        if unit.index not in gone or not isinstance(unit.join, nn.Identity):
            return None
        if not isinstance(unit.skip, nn.Identity):
            return f"unit{unit.index}.skip"
        if unit.index in bare.taps:
            return None
        if bare.bridges[unit.index] is not None:
            return f"bridge{unit.index}"
    return "stem"


def _ending_with(part: nn.Module, channel_map: ChannelMap) -> nn.Module | None:
    """The part and then the map, in one layer; ``None`` if it ends in nothing linear that it alone reads."""
    body = _own_graph(part)
    if body is None:
        return None
    made: Any = next(node for node in body.graph.nodes if node.op == "output").args[0]
    layer = (
        made[0] if isinstance(made, (tuple, list)) else made
    )  # a stem gives side inputs beside it
    weight, bias = _layer_weights(body, layer)
    if weight is None:
        return None
    by, shift = channel_map.weight.to(weight), channel_map.bias.to(weight)
    # A (W x + b) + s = (A W) x + (A b + s), for a convolution too: A mixes its output's channels at each place.
    total = torch.einsum("kc,c...->k...", by, weight)
    moved = shift if bias is None else shift + by @ bias
    return _with_weights(part, body, layer, total, moved)


def _beginning_with(part: nn.Module, channel_map: ChannelMap) -> nn.Module | None:
    """The map and then the part, in one layer; ``None`` if it begins with nothing linear."""
    body = _own_graph(part)
    node = None if body is None else _first_linear(body)
    if body is None or node is None:
        return None
    weight, bias = _layer_weights(body, node)
    # Places that were laid side by side, and not averaged, make it wider than there are channels.
    if weight is None or weight.shape[1] != len(channel_map.weight) or weight.ndim != 2:
        return None
    by, shift = channel_map.weight.to(weight), channel_map.bias.to(weight)
    # W (A x + s) + b = (W A) x + (W s + b). Of a convolution that would be wrong at its borders, where it pads
    # with zeros and not with s.
    moved = weight @ shift if bias is None else bias + weight @ shift
    return _with_weights(part, body, node, weight @ by, moved)


def _first_linear(body: fx.GraphModule) -> fx.Node | None:
    """The linear layer that the stream comes to first, means over places aside, if there is one."""
    node = next(node for node in body.graph.nodes if node.op == "placeholder")
    while len(node.users) == 1:
        node = next(iter(node.users))
        if node.target is _aten.linear.default:
            return node
        if node.target not in _COMMUTING:
            return None
    return None


def _own_graph(part: nn.Module) -> fx.GraphModule | None:
    """A copy of the part's graph that can be rewritten, its tensors shared."""
    body = getattr(part, "body", None)
    if not isinstance(body, fx.GraphModule):
        return None
    return fx.GraphModule(body, copy.deepcopy(body.graph))


def _layer_weights(body: fx.GraphModule, node: Any) -> tuple[Tensor | None, Tensor | None]:
    """Weight and bias of a layer that one other node reads; no weight if it is no such layer."""
    if not isinstance(node, fx.Node) or node.target not in _LINEAR or len(node.users) != 1:
        return None, None
    found = [
        getattr(body, str(argument.target))
        if isinstance(argument, fx.Node) and argument.op == "get_attr"
        else None
        for argument in (*node.args[1:3], None)
    ]
    has_bias = len(node.args) > 2 and node.args[2] is not None
    return (None, None) if has_bias and found[1] is None else (found[0], found[1])


def _with_weights(
    part: nn.Module, body: fx.GraphModule, node: fx.Node, weight: Tensor, bias: Tensor
) -> nn.Module:
    for name, value in (("folded_weight", weight), ("folded_bias", bias)):
        body.register_parameter(name, nn.Parameter(value.detach(), requires_grad=False))
    with body.graph.inserting_before(node):
        read = [body.graph.create_node("get_attr", f"folded_{name}") for name in ("weight", "bias")]
    node.args = (node.args[0], *read, *node.args[3:])
    body.graph.eliminate_dead_code()
    body.delete_all_unused_submodules()
    body.recompile()
    # A shallow copy with a body of its own: the part is the user's network's too.
    changed = copy.copy(part)
    changed._modules = {**part._modules, "body": body}
    return changed
