"""Any trained residual model → its unraveled view, found in the captured graph and checked against it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from torch import nn

from resanalysis.errors import ResanalysisError
from resanalysis.network import Inputs, ResidualNetwork
from resanalysis.view.assemble import assemble, shape_of
from resanalysis.view.capture import capture
from resanalysis.view.check import check_view
from resanalysis.view.errors import UnravelError
from resanalysis.view.group import grouped_by_layer
from resanalysis.view.part import unravel_part
from resanalysis.view.plain import assemble_plain
from resanalysis.view.trunk import find_trunk

__all__ = ["UnravelError", "unravel"]


def unravel(
    model: nn.Module,
    example: Inputs,
    *,
    group: Literal["unit", "layer"] = "unit",
    plain: bool = False,
    submodule: str | None = None,
    name: str | None = None,
) -> ResidualNetwork:
    """The unraveled view of a model: stem, units, bridges, head.

    Parameters
    ----------
    model : any module; it is run in eval mode and left as it was.
    example : a batch to call it with: a tensor, a tuple of arguments, or a dict of keyword arguments.
    group : ``"layer"`` makes one unit of all units of a layer (attention and MLP of a transformer).
    plain : read the model as a chain of layers with no skips (VGG, plain networks).
    submodule : path of a part (a detector's backbone): its units are the chain, and the rest of the
        model runs around them as it is. The model need not be capturable as a whole.
    name : what to call it; the class name if left out.

    Returns
    -------
    ResidualNetwork : shares the model's weights and takes any batch size, unless its ``batch_size``
        says otherwise.

    Raises
    ------
    UnravelError : if the model cannot be captured, has no chain of residual units, or the chain does
        not compute what the model computes.

    Source: Veit et al. 2016, §3 (the unraveled view).
    """
    name = name or type(model).__name__
    if submodule:
        if plain:
            raise ResanalysisError(
                "plain and submodule do not go together: name the model or the part"
            )
        network = unravel_part(model, example, submodule, name)
        return grouped_by_layer(network) if group == "layer" else network
    captured = capture(model, example)
    if plain:
        network = assemble_plain(captured, name)
    else:
        network = assemble(captured, find_trunk(captured.module.graph, captured.output), name)
    check_view(network, model, example)
    network = replace(network, outputs=math.prod(shape_of(captured.output)))
    return grouped_by_layer(network) if group == "layer" else network
