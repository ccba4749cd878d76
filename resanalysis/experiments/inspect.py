"""The unraveled view as tables: one row per unit, and one per part with what it costs."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import nn

from resanalysis.measures.cost import part_operations
from resanalysis.network import Inputs, ResidualNetwork


def inspect(network: ResidualNetwork, example: Inputs | None = None) -> pd.DataFrame:
    """What the chain of a network consists of.

    Parameters
    ----------
    example : a batch to run the parts on, to count their operations; left out, operations are counted where
        a stream of zeros is enough: not of the stem, nor of units that read side inputs (masks, position
        tables).

    Returns
    -------
    DataFrame : ``unit``, ``name``, ``stage``, ``transition``, ``skip`` (its kind), ``join`` (the
        operations after the addition, ``none`` if there are none), ``in_shape`` and ``out_shape``
        (without the batch, such as ``16×32×32``), ``parameters``, ``bridge`` (whether plain layers run
        before the unit), ``layer`` (the module that holds it), ``flops`` (floating-point operations of the
        matrix products and convolutions of the whole unit for one example, a multiply-add counting as two;
        empty where they cannot be counted without an example), ``macs`` (the same with a multiply-add
        counting as one, as in the tables of most papers). ``attrs["parts"]`` holds the rows of
        ``inspect_parts`` that are no units.
    """
    costs = part_operations(network, example)
    frame = pd.DataFrame(
        {
            "unit": unit.index,
            "name": unit.name,
            "stage": unit.stage,
            "transition": unit.transition,
            "skip": unit.skip_kind,
            "join": _operations(unit.join),
            "in_shape": "×".join(str(size) for size in unit.in_shape),
            "out_shape": "×".join(str(size) for size in unit.out_shape),
            "parameters": unit.parameters,
            "bridge": network.bridges[unit.index] is not None,
            "layer": unit.group,
            **_counts(costs[f"unit{unit.index}"]),
        }
        for unit in network.units
    )
    frame = _whole_or_empty(frame)
    frame.attrs = {
        "model": network.name,
        "units": len(network),
        "parts": [row for row in _parts(network, costs) if not str(row["part"]).startswith("unit")],
    }
    return frame


def inspect_parts(network: ResidualNetwork, example: Inputs | None = None) -> pd.DataFrame:
    """What every part of a network costs: stem, bridges, units and head, in the order in which they run.

    A table of its own, because a row of ``inspect`` is a unit: units count from 0, and whoever indexes or
    counts its rows would take a stem for one.

    Parameters
    ----------
    example : as for ``inspect``.

    Returns
    -------
    DataFrame : ``part`` (``stem``, ``bridge3`` before ``unit3``, …, ``head``), ``name`` (the module path of a
        unit), ``parameters``, ``flops`` and ``macs`` as in ``inspect``. Weights that two parts share (tied
        embeddings) are counted in both.
    """
    frame = _whole_or_empty(pd.DataFrame(_parts(network, part_operations(network, example))))
    frame.attrs = {"model": network.name, "units": len(network)}
    return frame


def inspect_page(
    network: ResidualNetwork, example: Inputs | None = None
) -> dict[str, pd.DataFrame]:
    """Both tables by name."""
    return {
        "inspect": inspect(network, example),
        "inspect_parts": inspect_parts(network, example),
    }


def _parts(network: ResidualNetwork, costs: dict[str, int | None]) -> list[dict[str, Any]]:
    """A record for every part that runs, with what it costs."""
    rows: list[dict[str, Any]] = [_part("stem", network.stem, costs)]
    for unit, bridge in zip(network.units, network.bridges, strict=True):
        if bridge is not None:
            rows.append(_part(f"bridge{unit.index}", bridge, costs))
        part = f"unit{unit.index}"
        rows.append(
            {
                "part": part,
                "name": unit.name,
                "parameters": unit.parameters,
                **_counts(costs[part]),
            }
        )
    return [*rows, _part("head", network.head, costs)]


def _part(part: str, module: nn.Module, costs: dict[str, int | None]) -> dict[str, Any]:
    weights = sum(tensor.numel() for tensor in module.parameters())
    return {"part": part, "name": "", "parameters": weights, **_counts(costs[part])}


def _counts(flops: int | None) -> dict[str, int | None]:
    """Operations by both customs; every operation counted here is a multiply-add, so half is exact."""
    return {"flops": flops, "macs": None if flops is None else flops // 2}


def _whole_or_empty(frame: pd.DataFrame) -> pd.DataFrame:
    """Counts stay whole numbers where some are missing: pandas would make them floats."""
    for name in ("flops", "macs"):
        if frame[name].isna().to_numpy().any():
            counts = [None if count != count else int(count) for count in frame[name].astype(float)]
            frame[name] = pd.Series(counts, dtype=object)
    return frame


def _operations(piece: nn.Module) -> str:
    """Names of the tensor operations of a piece, in order."""
    body = getattr(piece, "body", piece)
    if isinstance(body, nn.Identity):
        return "none"
    if not isinstance(body, torch.fx.GraphModule):
        return type(body).__name__
    names = [
        str(node.target).removeprefix("aten.").split(".")[0]
        for node in body.graph.nodes
        if node.op == "call_function"
    ]
    return " ".join(names) or "none"
