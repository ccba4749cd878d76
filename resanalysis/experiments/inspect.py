"""The unraveled view as a table: one row per unit."""

from __future__ import annotations

import pandas as pd
import torch
from torch import nn

from resanalysis.measures.cost import unit_operations
from resanalysis.network import Inputs, ResidualNetwork


def inspect(network: ResidualNetwork, example: Inputs | None = None) -> pd.DataFrame:
    """What the chain of a network consists of.

    Parameters
    ----------
    example : a batch to run the units on, to count their operations; needed only where units read side
        inputs (masks, position tables), since the stream's shape is known.

    Returns
    -------
    DataFrame : ``unit``, ``name``, ``stage``, ``transition``, ``skip`` (its kind), ``join`` (the
        operations after the addition, ``none`` if there are none), ``in_shape`` and ``out_shape``
        (without the batch, such as ``16×32×32``), ``parameters``, ``bridge`` (whether plain layers run
        before the unit), ``layer`` (the module that holds it), ``flops`` (floating-point operations of the
        matrix products and convolutions of the whole unit for one example, a multiply-add counting as two;
        empty where they cannot be counted without an example).
    """
    flops = unit_operations(network, example)
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
            "flops": flops[unit.index],
        }
        for unit in network.units
    )
    if any(count is None for count in flops):
        frame["flops"] = pd.Series(flops, dtype=object)
    frame.attrs = {"model": network.name, "units": len(network)}
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
