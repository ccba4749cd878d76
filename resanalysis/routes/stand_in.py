"""What stands in for a deleted branch: its mean over examples, or its output on another example.

A view is made whose units have a ``stand_in``; routes, and all that runs them, stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor, fx, nn

from resanalysis.errors import ResanalysisError
from resanalysis.network import (
    Inputs,
    Piece,
    ResidualNetwork,
    ResidualUnit,
    Side,
    run_piece,
)
from resanalysis.routes.arithmetic import check_not_bf16
from resanalysis.routes.batches import Batch, Batches, Block, BlockStore, EvaluationData
from resanalysis.routes.evaluator import entered

Replace = Literal["zero", "mean", "element-mean", "resample"]
"""Nothing; the mean of each channel, or of each element, over examples; the output on another example."""

_aten = torch.ops.aten


def check_replace(network: ResidualNetwork, by: str) -> None:
    """Refuse what is no stand-in, and networks whose branches can have none."""
    if by not in get_args(Replace):
        raise ResanalysisError(
            f"nothing called {by!r} stands in for a branch; there are {', '.join(get_args(Replace))}"
        )
    if by == "zero":
        return
    for unit in network.units:
        if unit.skip_kind in ("gate", "none"):
            why = (
                "is a plain layer"
                if unit.skip_kind == "none"
                else "has one gate for branch and skip"
            )
            raise ResanalysisError(
                f"unit {unit.index} ({unit.name}) {why}: only zero can stand in for a branch of "
                f"{network.name}, got {by}"
            )


class _Constant(nn.Module):
    """The same for every example."""

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)

    def forward(self, h: Tensor) -> Tensor:
        return self.value.to(h.dtype)


def with_means(
    network: ResidualNetwork,
    data: EvaluationData,
    by: Literal["mean", "element-mean"],
    *,
    batch_size: int | None = None,
    store: BlockStore | None = None,
) -> ResidualNetwork:
    """The network with the mean output of every branch as its stand-in.

    Parameters
    ----------
    data : examples that are not measured; the intact network runs on them. Tokens that the attention mask
        hides do not count.
    by : ``mean`` of each channel over examples and places, or ``element-mean``, over examples alone.
    """

    def sums(batch: Batch) -> Block:
        found: dict[str, Any] = {}
        for unit, values in zip(
            network.units, _branches(network, *entered(network, batch)), strict=True
        ):
            # In double precision: float32 sums over thousands of images and places lose what a mean is read
            # for.
            own = values[: batch.stop - batch.start].double()
            weights = own.new_ones(len(own), *[1] * (own.ndim - 1))
            if batch.kept_tokens is not None and own.ndim == 3:
                weights = batch.kept_tokens[: len(own), :, None].to(own)
            over = _averaged(unit, own.ndim, by)
            found[f"sum{unit.index}"] = (own * weights).sum(over, keepdim=True).cpu().numpy()
            counted = weights.expand(own.shape).sum(over, keepdim=True)
            found[f"count{unit.index}"] = counted.cpu().numpy()
        return found

    with torch.inference_mode():
        batches = Batches.of(network, data, batch_size=batch_size, store=store)
        blocks = batches.each("means", sums)

    def mean(unit: ResidualUnit) -> _Constant:
        total, count = (
            np.sum([block[f"{name}{unit.index}"] for block in blocks], axis=0)
            for name in ("sum", "count")
        )
        # A place that every mask hides has no mean, and nothing stands in there.
        values = torch.from_numpy(total / np.maximum(count, 1))
        return _Constant(values.to(network.device, network.float_type))

    return replace(
        network, units=tuple(replace(unit, stand_in=mean(unit)) for unit in network.units)
    )


def _averaged(unit: ResidualUnit, dimensions: int, by: str) -> tuple[int, ...]:
    """The dimensions of a branch's output that a mean is over."""
    if by == "element-mean":
        return (0,)
    kept = _channels(unit, dimensions) % dimensions
    return tuple(number for number in range(dimensions) if number != kept)


def _channels(unit: ResidualUnit, dimensions: int) -> int:
    """The dimension of the channels: 1 of feature maps, else the last.

    A branch with a convolution makes feature maps; in one dimension it may turn tokens into a map and back,
    and then it has linear layers too.
    """
    nodes = [
        node
        for module in unit.branch.modules()
        if isinstance(module, fx.GraphModule)
        for node in module.graph.nodes
    ]
    there = {node.target for node in nodes}
    if dimensions == 4 and _aten.conv2d.default in there:
        return _channels_of_maps(nodes)
    if dimensions == 3 and _aten.conv1d.default in there and _aten.linear.default not in there:
        return 1
    return -1


def _channels_of_maps(nodes: list[fx.Node]) -> int:
    """Where the channels of the last convolution are at the end: Keras' are put last behind each."""
    place = 1
    for node in nodes:
        if node.target is _aten.conv2d.default:
            place = 1
        # A weight that is permuted (Keras' kernels) moves no channels of the stream.
        elif node.target is _aten.permute.default and node.all_input_nodes[0].op != "get_attr":
            order = cast("list[int]", node.args[1])
            place = [side % 4 for side in order].index(place) if len(order) == 4 else place
    return place


def _branches(network: ResidualNetwork, h: Tensor, side: Side) -> list[Tensor]:
    """The output of every branch of the intact network."""
    found: list[Tensor] = []

    def step(unit: ResidualUnit, h: Tensor, side: Side) -> Tensor:
        # The branch runs twice. Its output out of `full` would have to be cut out of that graph.
        found.append(run_piece(unit.branch, h, side))
        return unit(h, side)

    network.walk(h, side, step)
    return found


@dataclass(frozen=True, eq=False)
class Paired:
    """Each example with its donor: what ``with_donors`` takes.

    Attributes
    ----------
    data, donors : of one length; the labels are those of ``data``.
    """

    data: EvaluationData
    donors: EvaluationData

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, start: int, stop: int) -> tuple[Inputs, Tensor | None]:
        inputs, labels = self.data.batch(start, stop)
        return (inputs, self.donors.batch(start, stop)[0]), labels


class _PairedStem(nn.Module):
    """The stem of an example; behind its side inputs, the output of every branch on its donor."""

    def __init__(self, network: ResidualNetwork) -> None:
        super().__init__()
        self.stem = network.stem
        self._network = network

    def forward(self, own: Inputs, donor: Inputs) -> tuple[Tensor, Side]:
        h, side = self._network.enter(own)
        # By number behind the stem's own: unit i reads the side input `first + i`.
        return h, (*side, *_branches(self._network, *self._network.enter(donor)))


class _Given(nn.Module):
    """What the stem put aside for this unit."""

    def forward(self, _: Tensor, given: Tensor) -> Tensor:
        return given


def with_donors(network: ResidualNetwork, example: Inputs) -> ResidualNetwork:
    """The network with the output of every branch on the example's donor as its stand-in.

    Parameters
    ----------
    example : a batch of its inputs, by which its side inputs are counted.

    Returns
    -------
    ResidualNetwork : takes the examples of ``Paired``.

    Raises
    ------
    ResanalysisError : in bf16, and for a part of a model that returns several features, since what its head
        reads on the way is numbered from the same end.
    """
    check_not_bf16(network.arithmetic, "outputs on other examples stand in for branches")
    if network.taps:
        raise ResanalysisError(
            f"the head of {network.name} reads the stream on the way: mean can stand in for its branches, "
            "and resample cannot"
        )
    with torch.inference_mode():
        first = len(network.enter(example)[1])
    given = partial(Piece, _Given())
    units = tuple(replace(unit, stand_in=given([first + unit.index])) for unit in network.units)
    return replace(network, stem=_PairedStem(network), units=units)
