"""The unraveled view of a residual network: a stem, a chain of units with bridges between them, and a head."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from resanalysis.errors import ResanalysisError
from resanalysis.network.shown import network_html, network_line

Side = tuple[Any, ...]
"""What later parts read beside the stream, by position: tensors of the stem (attention masks, rotary tables);
the call of the larger model, where the network is a part of one; then what the head reads of the stream."""

Inputs = Tensor | Sequence[Any] | Mapping[str, Any]
"""What a model is called with: one tensor, positional arguments, or keyword arguments."""

Arithmetic = Literal["float32", "tf32", "bf16"]
"""``float32``; ``tf32``, which shortens the factors of a GPU's products to 10 bits; ``bf16`` throughout."""

SkipKind = Literal["identity", "projection", "pad", "gate", "map", "none"]


class WeightFiles(Protocol):
    """Files that weights lie in, and are read from as they are used."""

    def release(self) -> None:
        """Let go of the memory of all that was read; what is used again is read again."""
        ...

    def release_after(self, modules: Iterable[nn.Module]) -> None:
        """Let each module that has weights let go of them once it has run."""
        ...


class Piece(nn.Module):
    """A part of the network as a function of the stream and the side inputs it reads.

    Parameters
    ----------
    body : called as ``body(h, *tensors)`` with the side inputs numbered in ``reads``.
    reads : positions in the side tuple.
    """

    takes_side = True

    def __init__(self, body: nn.Module, reads: Sequence[int] = ()) -> None:
        super().__init__()
        self.body = body
        self.reads = tuple(reads)

    def forward(self, h: Tensor, side: Side = ()) -> Tensor:
        if self.reads and len(side) <= max(self.reads):
            raise ResanalysisError(
                f"this part reads {len(self.reads)} side inputs (masks or position tables) beside the "
                f"stream, got {len(side)}: pass the second result of network.enter(inputs)"
            )
        return self.body(h, *(side[index] for index in self.reads))


def run_piece(piece: nn.Module, h: Tensor, side: Side = ()) -> Tensor:
    """Apply a part to the stream, and to the side inputs if it says that it takes them (``takes_side``)."""
    return piece(h, side) if getattr(piece, "takes_side", False) else piece(h)


@dataclass(frozen=True, eq=False)
class ResidualUnit:
    """One unit: ``h → join(skip(h) + branch(h))``.

    Attributes
    ----------
    index : position in the chain, from 0.
    name : module path in the model, such as ``layer2.0``.
    skip, branch, join : modules of the stream (N, …); the join is what follows the addition.
    whole : computes ``skip(h) + branch(h)`` with what the two share run once; ``None`` adds them.
    full : computes the unit, join included, in one graph; ``None`` runs ``whole`` and ``join``.
    skip_kind : ``identity``, ``projection``, ``pad``, ``gate`` (highway carry gate), ``map`` (any
        other), or ``none`` (a layer of a plain network, which has no skip: ``branch`` is the layer).
    stage : runs of equal stream shape, bounded by transitions and bridges, from 0.
    transition : whether the stream changes its shape here.
    in_shape, out_shape : shape of the stream without the batch dimension.
    parameters : number of weights in the unit.
    group : module path of the layer this unit is part of (two units of one transformer layer share it).
    stand_in : what is added to the skip where the branch is deleted; ``None`` adds nothing.
    """

    index: int
    name: str
    skip: nn.Module
    branch: nn.Module
    join: nn.Module = field(default_factory=nn.Identity)
    whole: nn.Module | None = None
    full: nn.Module | None = None
    skip_kind: SkipKind = "identity"
    stage: int = 0
    transition: bool = False
    in_shape: tuple[int, ...] = ()
    out_shape: tuple[int, ...] = ()
    parameters: int = 0
    group: str = ""
    stand_in: nn.Module | None = None

    @property
    def deletable(self) -> bool:
        """Whether the stream can pass without the branch: false only for a shape-changing plain layer."""
        return self.skip_kind != "none" or self.in_shape == self.out_shape

    def __call__(self, h: Tensor, side: Side = ()) -> Tensor:
        """The unit as the model runs it."""
        if self.full is not None:
            return run_piece(self.full, h, side)
        return run_piece(self.join, self.sum(h, side), side)

    def sum(self, h: Tensor, side: Side = ()) -> Tensor:
        """``skip(h) + branch(h)``: what enters the join."""
        if self.skip_kind == "none":
            return run_piece(self.branch, h, side)
        if self.whole is not None:
            return run_piece(self.whole, h, side)
        return run_piece(self.skip, h, side) + run_piece(self.branch, h, side)

    def without_branch(self, h: Tensor, side: Side = ()) -> Tensor:
        """The unit with its branch lesioned: ``join(skip(h))``, or ``join(skip(h) + stand_in(h))``.

        A highway unit's transform gate is set to 0, so that the stream is carried unchanged.

        Raises
        ------
        ResanalysisError : for a plain layer that changes the stream's shape.
        """
        if not self.deletable:
            raise ResanalysisError(
                f"unit {self.index} ({self.name}) is a plain layer from {self.in_shape} to "
                f"{self.out_shape}: without it the next layer cannot run"
            )
        if self.skip_kind == "none":
            return h
        # Not the gate's skip, (1 − t)·h with the t of the branch: with t = 0 all of h is carried.
        passed = h if self.skip_kind == "gate" else run_piece(self.skip, h, side)
        if self.stand_in is not None:
            passed = passed + run_piece(self.stand_in, h, side)
        return run_piece(self.join, passed, side)

    def without_skip(self, h: Tensor, side: Side = ()) -> Tensor:
        """The unit with its skip cut: ``join(branch(h))``."""
        return run_piece(self.join, run_piece(self.branch, h, side), side)

    def scaled(self, h: Tensor, factor: float, side: Side = ()) -> Tensor:
        """The unit with its branch multiplied: ``join(skip(h) + factor · branch(h))``."""
        if self.skip_kind == "none":
            raise ResanalysisError(
                f"unit {self.index} ({self.name}) is a plain layer and has no branch"
            )
        branch = run_piece(self.branch, h, side)
        return run_piece(self.join, run_piece(self.skip, h, side) + factor * branch, side)

    def modules(self) -> dict[str, nn.Module]:
        """The parts by their field name."""
        parts: dict[str, nn.Module] = {"skip": self.skip, "branch": self.branch, "join": self.join}
        if self.whole is not None:
            parts["whole"] = self.whole
        if self.full is not None:
            parts["full"] = self.full
        if self.stand_in is not None:
            parts["stand_in"] = self.stand_in
        return parts


class Place(NamedTuple):
    """A unit with what the stream meets before it: a place where the head reads it, then a bridge."""

    unit: ResidualUnit
    tapped: bool
    bridge: nn.Module | None


UnitStep = Callable[[ResidualUnit, Tensor, Side], Tensor]
"""What a walk along the chain does at a unit: from the stream before it to the stream behind it."""


def as_trained(unit: ResidualUnit, h: Tensor, side: Side) -> Tensor:
    """The step of the intact network."""
    return unit(h, side)


@dataclass(frozen=True, eq=False)
class ResidualNetwork:
    """A trained network as a chain of residual units.

    Attributes
    ----------
    stem : called with the model's inputs; returns the stream, or the stream and the side inputs.
    units : the chain, in order.
    head : from the stream to the model's output (N, classes) or (N, T, vocabulary).
    bridges : one entry per unit: the plain layers that run before it, or ``None``.
    taps : positions where the head reads the stream too, as it is after the unit before (a part of a larger
        model that returns the features of every stage); the head finds them behind the side inputs.
    name : what the user called it.
    batch_size : the only batch size it accepts, where the captured graph fixed one.
    channels_last : whether inputs are best given in that memory format.
    arithmetic : in which it is measured; gradients refuse ``bf16``.
    outputs : numbers the head makes for one example, as far as known: a language model's are many times
        those of its stream.
    files : where the weights are, if they are not in memory; routes are then run a unit at a time.
    """

    stem: nn.Module
    units: tuple[ResidualUnit, ...]
    head: nn.Module
    bridges: tuple[nn.Module | None, ...] = ()
    taps: tuple[int, ...] = ()
    name: str = "network"
    batch_size: int | None = None
    channels_last: bool = False
    arithmetic: Arithmetic = "float32"
    outputs: int = 0
    files: WeightFiles | None = None

    def __post_init__(self) -> None:
        if not self.bridges:
            object.__setattr__(self, "bridges", (None,) * len(self.units))
        if len(self.bridges) != len(self.units):
            raise ResanalysisError(
                f"{len(self.bridges)} bridges for {len(self.units)} units: give one (or None) per unit"
            )

    def __len__(self) -> int:
        return len(self.units)

    def __repr__(self) -> str:
        """One line: all modules written out fill pages."""
        return f"<{type(self).__name__} {network_line(self)}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the chain, and its runs of units that are alike."""
        return network_html(self)

    @property
    def float_type(self) -> torch.dtype:
        """Of the stream: that of the first weights behind the stem."""
        parts = self.parts()
        for part in [*list(parts.values())[1:], parts["stem"]]:
            for tensor in part.parameters():
                if tensor.is_floating_point():
                    return tensor.dtype
        return torch.float32

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        for part in self.parts().values():
            for tensor in [*part.parameters(), *part.buffers()]:
                return tensor.device
        return torch.device("cpu")

    def enter(self, inputs: Inputs) -> tuple[Tensor, Side]:
        """Run the stem: the stream before the first unit and the side inputs."""
        if isinstance(inputs, Tensor):
            result = self.stem(inputs)
        elif isinstance(inputs, Mapping):
            result = self.stem(**inputs)
        else:
            result = self.stem(*inputs)
        return (result, ()) if isinstance(result, Tensor) else (result[0], tuple(result[1]))

    def chain(self) -> Iterator[Place]:
        """The units in order, each with what lies before it."""
        for unit, bridge in zip(self.units, self.bridges, strict=True):
            yield Place(unit, unit.index in self.taps, bridge)

    def runs(self) -> list[tuple[int, ...]]:
        """Units that follow each other directly and all keep the stream's shape: they can be cut out whole."""
        found: list[list[int]] = []
        for unit, tapped, bridge in self.chain():
            if unit.in_shape != unit.out_shape:
                continue
            # A bridge or a tap before the unit ends the run: what lies between two units cannot be cut out with
            # them.
            directly = bool(found) and found[-1][-1] == unit.index - 1
            if directly and bridge is None and not tapped:
                found[-1].append(unit.index)
            else:
                found.append([unit.index])
        return [tuple(run) for run in found]

    def reach(self, position: int, h: Tensor, side: Side = ()) -> tuple[Tensor, Side]:
        """Come to the unit at ``position``: past a place where the head reads the stream, over a bridge.

        What the head reads goes behind the side inputs, which units number from the front.
        """
        if position in self.taps:
            side = (*side, h)
        bridge = self.bridges[position]
        return (h if bridge is None else run_piece(bridge, h, side)), side

    def walk(
        self, h: Tensor, side: Side = (), step: UnitStep = as_trained, *, start: int = 0
    ) -> tuple[Tensor, Side]:
        """Send the stream through the chain: what the head takes.

        Parameters
        ----------
        step : what is done at each unit, instead of running it as trained.
        start : the unit that the stream is before, the side inputs as they are there.
        """
        for unit in self.units[start:]:
            h, side = self.reach(unit.index, h, side)
            h = step(unit, h, side)
        return h, side

    def leave(self, h: Tensor, side: Side = ()) -> Any:
        """Run the head: the model's logits, or whatever a larger model returns that has none.

        Parameters
        ----------
        h, side : as ``walk`` returns them.
        """
        return run_piece(self.head, h, side)

    def __call__(self, inputs: Inputs) -> Any:
        """The model's own output, computed unit by unit."""
        return self.leave(*self.walk(*self.enter(inputs)))

    def joined(self, position: int) -> bool:
        """Whether nothing happens between the unit before ``position`` and the one there."""
        return self.bridges[position] is None and position not in self.taps

    def parts(self) -> dict[str, nn.Module]:
        """Every part by a name: ``stem``, ``bridge3``, ``unit3.branch``, …, ``head``."""
        found: dict[str, nn.Module] = {"stem": self.stem}
        for unit, _, bridge in self.chain():
            if bridge is not None:
                found[f"bridge{unit.index}"] = bridge
            for field_name, module in unit.modules().items():
                found[f"unit{unit.index}.{field_name}"] = module
        found["head"] = self.head
        return found

    def with_parts(self, parts: Mapping[str, nn.Module], **changes: Any) -> ResidualNetwork:
        """A network of the same chain with the parts of ``parts()`` replaced."""
        units = tuple(
            replace(unit, **{key: parts[f"unit{unit.index}.{key}"] for key in unit.modules()})
            for unit in self.units
        )
        bridges = tuple(
            None if bridge is None else parts[f"bridge{index}"]
            for index, bridge in enumerate(self.bridges)
        )
        return replace(
            self, stem=parts["stem"], head=parts["head"], units=units, bridges=bridges, **changes
        )

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> ResidualNetwork:
        """A copy in memory, on another device or in another float type; this network stays as it is."""
        # All in one copy: what parts share, in memory or by tied weights, they share again.
        parts = copy.deepcopy(self.parts())
        for part in parts.values():
            part.to(device=device, dtype=dtype)
            for module in part.modules():
                if isinstance(module, torch.fx.GraphModule):
                    move_constants(module, torch.device(device), dtype)
        return self.with_parts(parts, files=None)


def move_constants(
    module: torch.fx.GraphModule, device: torch.device, dtype: torch.dtype | None
) -> None:
    """Tensors a graph makes by itself (``arange``, ``zeros``, casts) name a device and a type."""
    changed = [node for node in module.graph.nodes if _names_place(node, dtype)]
    for node in changed:
        if node.kwargs.get("device") is not None:
            node.kwargs = {**node.kwargs, "device": device}
        if dtype is not None:
            values = {key: _other(value, dtype) for key, value in node.kwargs.items()}
            node.args, node.kwargs = tuple(_other(value, dtype) for value in node.args), values
    if changed:
        module.recompile()


def _names_place(node: torch.fx.Node, dtype: torch.dtype | None) -> bool:
    """Whether it names a device, or a type that is to be another."""
    named = torch.float32 in node.args or node.kwargs.get("dtype") is torch.float32
    return node.kwargs.get("device") is not None or (dtype is not None and named)


def _other(value: Any, dtype: torch.dtype) -> Any:
    return dtype if value is torch.float32 else value
