"""A network some of whose units are gone for good, so that what looks at networks can look at what is left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from resanalysis.network import Piece, ResidualNetwork, ResidualUnit, Side, run_piece
from resanalysis.routes.route import without


class Nothing(nn.Module):
    """The branch of a unit that is gone: zeros of the shape that its skip gives."""

    takes_side = True

    def __init__(self, skip: nn.Module) -> None:
        super().__init__()
        self.skip = skip

    def forward(self, h: Tensor, side: Side = ()) -> Tensor:
        return torch.zeros_like(run_piece(self.skip, h, side))


class Behind(nn.Module):
    """A part, then a module that reads the stream alone."""

    takes_side = True

    def __init__(self, part: nn.Module, following: nn.Module) -> None:
        super().__init__()
        self.part, self.following = part, following

    def forward(self, h: Tensor, side: Side = ()) -> Tensor:
        return self.following(run_piece(self.part, h, side))


def taken_out(
    network: ResidualNetwork,
    units: Iterable[int],
    behind: Mapping[int, nn.Module] | None = None,
) -> ResidualNetwork:
    """The same chain with some units without their branches: run as it is, it is ``without(network, units)``.

    Parameters
    ----------
    units : that are gone; they keep their places and numbers, with skip and join alone.
    behind : by the number of a unit that is gone, what the stream passes behind it.

    Raises
    ------
    ResanalysisError : if a unit is not there, or is a plain layer that cannot go.
    """
    gone = frozenset(units)
    without(network, gone)  # refuses what cannot go
    following = behind or {}
    left = [
        _without_branch(unit, following.get(unit.index)) if unit.index in gone else unit
        for unit in network.units
    ]
    return replace(network, units=tuple(left))


def _without_branch(unit: ResidualUnit, following: nn.Module | None) -> ResidualUnit:
    # A closed gate and a layer that is left out pass the stream on as it is.
    carried = unit.skip_kind in ("gate", "none")
    skip = nn.Identity() if carried else unit.skip
    join = nn.Identity() if unit.skip_kind == "none" else unit.join
    return replace(
        unit,
        skip=skip,
        branch=Nothing(skip),
        join=join if following is None else _followed(join, following),
        whole=skip,
        full=None,
        skip_kind="identity" if carried else unit.skip_kind,
        parameters=0,
    )


def _followed(join: nn.Module, following: nn.Module) -> nn.Module:
    """The join and what is behind it, as a piece that is exported and named like any other."""
    if isinstance(join, nn.Identity):
        return following
    if isinstance(join, Piece) and not join.reads:
        return Piece(nn.Sequential(join.body, following))
    return Behind(join, following)
