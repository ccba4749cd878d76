"""Joining the units of one layer into one unit, for transformers read layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from torch import Tensor, nn

from resanalysis.network import Piece, ResidualNetwork, ResidualUnit, run_piece


class Chain(nn.Module):
    """Pieces one after the other, as a piece."""

    def __init__(self, pieces: Sequence[nn.Module]) -> None:
        super().__init__()
        self.pieces = nn.ModuleList(pieces)

    def forward(self, h: Tensor, *side: Tensor) -> Tensor:
        for piece in self.pieces:
            h = run_piece(piece, h, side)
        return h


class _Difference(nn.Module):
    """What the whole adds to the skip."""

    def __init__(self, whole: nn.Module, skip: nn.Module) -> None:
        super().__init__()
        self.whole = whole
        self.skip = skip

    def forward(self, h: Tensor, *side: Tensor) -> Tensor:
        return run_piece(self.whole, h, side) - run_piece(self.skip, h, side)


class _Sum(nn.Module):
    """Skip plus branch of one unit."""

    def __init__(self, skip: nn.Module, branch: nn.Module) -> None:
        super().__init__()
        self.skip = skip
        self.branch = branch

    def forward(self, h: Tensor, *side: Tensor) -> Tensor:
        return run_piece(self.skip, h, side) + run_piece(self.branch, h, side)


def grouped_by_layer(network: ResidualNetwork) -> ResidualNetwork:
    """A network whose units are layers: consecutive units of one module, without a bridge between.

    Without its branch, a layer leaves every one of its units' branches out and keeps their joins.
    """
    runs: list[list[ResidualUnit]] = []
    for _, members in groupby(network.units, key=lambda unit: unit.group):
        run: list[ResidualUnit] = []
        for unit in members:
            # A bridge, or a place where the head reads the stream, must stay between units: no route may leave
            # it out.
            if run and not network.joined(unit.index):
                runs.append(run)
                run = []
            run.append(unit)
        runs.append(run)
    side_count = _side_count(network)
    units = tuple(
        replace(run[0], index=index) if len(run) == 1 else _layer(run, index, side_count)
        for index, run in enumerate(runs)
    )
    bridges = tuple(network.bridges[run[0].index] for run in runs)
    taps = tuple(index for index, run in enumerate(runs) if run[0].index in network.taps)
    return replace(network, units=units, bridges=bridges, taps=taps)


def _side_count(network: ResidualNetwork) -> int:
    """How many of the side inputs the units read; the head reads more, when the chain is over."""
    parts = [part for unit in network.units for part in unit.modules().values()]
    reads = [index for part in parts if isinstance(part, Piece) for index in part.reads]
    return max(reads, default=-1) + 1


def _as_run(units: Sequence[ResidualUnit], side_count: int) -> list[nn.Module]:
    """The units with their branches, but for the join of the last."""
    pieces: list[nn.Module] = []
    for unit in units:
        # The last join is left out: it stays the layer's own, behind its addition.
        if unit is not units[-1] and unit.full is not None:
            pieces.append(unit.full)
            continue
        both = Piece(_Sum(unit.skip, unit.branch), range(side_count))
        pieces.extend((both if unit.whole is None else unit.whole, unit.join))
    return pieces[:-1]


def _as_skipped(units: Sequence[ResidualUnit]) -> list[nn.Module]:
    """Skip and join of every unit, but for the join of the last."""
    return [piece for unit in units for piece in (unit.skip, unit.join)][:-1]


def _passes_unchanged(units: Sequence[ResidualUnit]) -> bool:
    """Whether the stream passes the units without their branches unchanged, up to the last join."""
    identities = all(unit.skip_kind == "identity" for unit in units)
    return identities and all(isinstance(unit.join, nn.Identity) for unit in units[:-1])


def _layer(run: Sequence[ResidualUnit], index: int, side_count: int) -> ResidualUnit:
    """One unit of several: its skip is theirs one after the other, its branch what they add to that."""
    first, last = run[0], run[-1]
    every = range(side_count)
    identity = _passes_unchanged(run)
    skip: nn.Module = nn.Identity() if identity else Piece(Chain(_as_skipped(run)), every)
    # The intact layer runs this and subtracts nothing. Its branch is a difference, and as exact as one: two
    # near numbers leave their rounding.
    whole = Piece(Chain(_as_run(run, side_count)), every)
    return ResidualUnit(
        index=index,
        name=first.group,
        skip=skip,
        branch=Piece(_Difference(whole, skip), every),
        join=last.join,
        whole=whole,
        skip_kind="identity" if identity else "map",
        stage=first.stage,
        transition=first.in_shape != last.out_shape,
        in_shape=first.in_shape,
        out_shape=last.out_shape,
        parameters=sum(unit.parameters for unit in run),
        group=first.group,
    )
