"""A network without some of its units, as a model of its own that runs with torch alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from resanalysis.errors import ResanalysisError
from resanalysis.network import Inputs, Piece, ResidualNetwork, ResidualUnit, Side, run_piece
from resanalysis.routes.route import without
from resanalysis.view.group import Chain
from resanalysis.view.part import HostStem

# Rounding of the archive against the pieces it is made of, relative to the largest output.
_TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 5e-2}


class _Step(nn.Module):
    """What runs of one unit, one part after the other; also what holds the steps below a module path.

    The pieces' graphs are its direct children, so that the unit is named for the step.
    """

    def __init__(self, pieces: Iterable[nn.Module] = ()) -> None:
        super().__init__()
        self._reads: list[tuple[str, tuple[int, ...] | None]] = []
        for piece in pieces:
            name = _free(self, "body")
            if isinstance(piece, Piece):
                self.add_module(name, piece.body)
                self._reads.append((name, piece.reads))
            else:
                self.add_module(name, piece)
                self._reads.append((name, None if isinstance(piece, _Sum) else ()))

    def forward(self, h: Tensor, side: Side = ()) -> Tensor:
        for name, reads in self._reads:
            read = (side,) if reads is None else (side[index] for index in reads)
            h = self.get_submodule(name)(h, *read)
        return h


class _Sum(nn.Module):
    """Skip plus branch of a unit that has no piece for both."""

    def __init__(self, skip: nn.Module, branch: nn.Module) -> None:
        super().__init__()
        self.skip, self.branch = skip, branch

    def forward(self, h: Tensor, side: Side = ()) -> Tensor:
        return run_piece(self.skip, h, side) + run_piece(self.branch, h, side)


class Shortened(nn.Module):
    """Stem, what is left of the units, bridges and head, one after the other.

    Every unit is at the module path it has in the model, so that the names stay.

    Parameters
    ----------
    network : the unraveled view; the module shares its weights.
    removed : units whose branches are gone; their skips and joins stay.

    Raises
    ------
    ResanalysisError : if a unit is not there, or is a plain layer that cannot go.
    """

    def __init__(self, network: ResidualNetwork, removed: Iterable[int]) -> None:
        super().__init__()
        gone = frozenset(removed)
        without(network, gone)  # refuses what cannot go
        self.enter, self.leave = network.stem, network.head
        self._paths: list[str] = []  # "" is a place where the head reads the stream too
        for unit, tapped, bridge in network.chain():
            if tapped:
                self._paths.append("")
            if bridge is not None:
                self._place(f"bridges.{unit.index}", [bridge])
            self._place(unit.name, _pieces(unit, unit.index in gone))
        for part in self.modules():
            if isinstance(
                part, (Shortened, _Step, _Sum)
            ):  # what is the network's own stays as it is
                part.training = False

    def _place(self, path: str, pieces: Iterable[nn.Module]) -> None:
        """Put a step at a module path; an identity needs none."""
        # A step of nothing would be a module in the written file that its reader wonders about.
        kept = [piece for piece in _opened(pieces) if not isinstance(piece, nn.Identity)]
        if not kept:
            return
        *above, last = path.split(".")
        holder: nn.Module = self
        for name in above:
            child = getattr(holder, name, None)
            if not isinstance(child, _Step):
                name = _free(holder, name)
                child = _Step()
                holder.add_module(name, child)
            holder = child
        last = _free(holder, last)
        step = _Step(kept)
        holder.add_module(last, step)
        self._paths.append(next(name for name, part in self.named_modules() if part is step))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        entered = self.enter(*args, **kwargs)
        h, side = (entered, ()) if isinstance(entered, Tensor) else (entered[0], tuple(entered[1]))
        for path in self._paths:
            if path:
                h = self.get_submodule(path)(h, side)
            else:
                side = (*side, h)
        return run_piece(self.leave, h, side)


def _opened(pieces: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """The pieces that layers were grouped from, so that a reader finds them as they were."""
    for piece in pieces:
        if not (isinstance(piece, Piece) and isinstance(piece.body, Chain)):
            yield piece
            continue
        for part in piece.body.pieces:
            reads = part.reads if isinstance(part, Piece) else ()
            body = part.body if isinstance(part, Piece) else part
            inner = Piece(body, [piece.reads[index] for index in reads])
            yield from _opened([part if isinstance(part, nn.Identity) else inner])


def _free(holder: nn.Module, name: str) -> str:
    while hasattr(holder, name):
        name += "_"
    return name


def _pieces(unit: ResidualUnit, gone: bool) -> list[nn.Module]:
    """What runs of a unit, in order: as ``ResidualUnit`` runs it, with and without its branch."""
    if unit.skip_kind == "none":
        return [] if gone else [unit.branch, unit.join] if unit.full is None else [unit.full]
    if gone:
        return [unit.join] if unit.skip_kind == "gate" else [unit.skip, unit.join]
    if unit.full is not None:
        return [unit.full]
    return [_Sum(unit.skip, unit.branch) if unit.whole is None else unit.whole, unit.join]


def shortened(network: ResidualNetwork, units: Iterable[int]) -> nn.Module:
    """The network without the branches of ``units``, as a module in eval mode.

    Its output is that of the route ``without(network, units)``. Called as the model is.

    Parameters
    ----------
    network : the unraveled view; the module shares its weights.
    units : those that go, such as a cell of the column ``units`` in ``prune.csv``.

    Raises
    ------
    ResanalysisError : if a unit is not there, or is a plain layer that cannot go.
    """
    return Shortened(network, units)


def exported(network: ResidualNetwork, units: Iterable[int], example: Inputs) -> ExportedProgram:
    """The shortened network as a graph that needs nothing of this package.

    Parameters
    ----------
    example : a batch; the first dimension of each of its tensors stays free where the network allows.

    Raises
    ------
    ResanalysisError : if the graph does not compute on ``example`` what the pieces do, or if the network is a
        part inside a larger model.
    """
    check_whole(network)
    module = Shortened(network, units)
    named = _named(example)
    # The exported graph checks its inputs by the names of this signature.
    module.forward = _with_signature(module.forward, named)  # type: ignore[method-assign]
    inputs = pytree.tree_map(lambda value: _repeated(value, network.batch_size), named)
    free = network.batch_size is None

    def dynamic(value: Any) -> Any:
        return {0: Dim.AUTO} if free and isinstance(value, Tensor) and value.ndim else None

    shapes = {name: pytree.tree_map(dynamic, value) for name, value in inputs.items()}
    args, kwargs = ((), inputs) if isinstance(example, Mapping) else (tuple(inputs.values()), {})
    with torch.no_grad():
        program = torch.export.export(module, args, kwargs, dynamic_shapes=shapes, strict=False)
        outputs = module(*args, **kwargs), program.module()(*args, **kwargs)
    for expected, got in zip(*map(_float_tensors, outputs), strict=True):
        # What is written is what is used elsewhere, without this package: held to the pieces before anybody has
        # it.
        difference = float((expected - got).abs().max() / expected.abs().max().clamp_min(1e-12))
        if not difference <= _TOLERANCE.get(expected.dtype, 1e-5):
            raise ResanalysisError(
                f"the exported graph of {network.name} differs from the network's own parts by "
                f"{difference:.2g} of the largest output, and was not written"
            )
    return program


def check_whole(network: ResidualNetwork) -> None:
    """Raise a ``ValueError`` if the network is a part inside a larger model, which cannot be written."""
    if isinstance(network.stem, HostStem):
        raise ResanalysisError(
            f"the units are a part of {network.name}, and the rest of it is no graph: a model can be "
            "written where the whole of it is analysed. In Python, ra.shortened(network, units) runs it"
        )


def _float_tensors(output: Any) -> list[Tensor]:
    leaves = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]
    return [leaf for leaf in leaves if leaf.is_floating_point()]


def _named(example: Inputs) -> dict[str, Any]:
    """The inputs by name."""
    if isinstance(example, Mapping):
        return dict(example)
    values = (example,) if isinstance(example, Tensor) else tuple(example)
    names = ["x"] if len(values) == 1 else [f"x{number}" for number in range(len(values))]
    return dict(zip(names, values, strict=True))


def _with_signature(forward: Callable[..., Any], names: Iterable[str]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(name, kind) for name in names])
    setattr(call, "__signature__", signature)  # noqa: B010 (no such field)
    return call


def _repeated(value: Any, batch_size: int | None) -> Any:
    """At least two rows, since a capture with one would fix the batch; or the only size there is."""
    if not isinstance(value, Tensor) or value.ndim == 0:
        return value
    rows = batch_size or max(2, len(value))
    return torch.cat([value] * -(-rows // len(value)))[:rows]
