"""A model as a whole, or a named part of it → its unraveled view."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from torch import Tensor, nn

from resanalysis.errors import ResanalysisError
from resanalysis.network import Inputs, ResidualNetwork, WeightFiles
from resanalysis.view.assemble import assemble, shape_of
from resanalysis.view.calling import require_rows
from resanalysis.view.capture import capture, example_value
from resanalysis.view.check import check_examples_apart, check_view, model_output
from resanalysis.view.group import grouped_by_layer
from resanalysis.view.outputs import chosen_output, logits_of, require_rows_of_numbers
from resanalysis.view.part import unravel_part
from resanalysis.view.plain import assemble_plain
from resanalysis.view.trunk import find_trunk
from resanalysis.view.undisturbed import undisturbed
from resanalysis.view.wrapped import parts_not_compiled, unwrapped


def unravel(
    model: nn.Module,
    example: Inputs,
    *,
    group: Literal["unit", "layer"] = "unit",
    plain: bool = False,
    submodule: str | None = None,
    output: str | None = None,
    name: str | None = None,
) -> ResidualNetwork:
    """The unraveled view of a model: stem, units, bridges, head.

    Parameters
    ----------
    model : any module, also in ``DataParallel``, compiled, or with PEFT's adapters; it is run in eval
        mode and left as it was.
    example : a batch to call it with: a tensor, a tuple of arguments, or a dict of keyword arguments.
    group : ``"layer"`` makes one unit of all units of a layer (attention and MLP of a transformer).
    plain : read the model as a chain of layers with no skips (VGG, plain networks).
    submodule : path of a part (a detector's backbone): its units are the chain, and the rest of the
        model runs around them as it is. The model need not be capturable as a whole.
    output : which of the things the model returns is analysed (``last_hidden_state``, ``aux``, or a
        position in a tuple); left out, the only one, or the logits.
    name : what to call it; the class name if left out.

    Returns
    -------
    ResidualNetwork : shares the model's weights and takes any batch size, unless its ``batch_size``
        says otherwise.

    Raises
    ------
    UnravelError : if the model cannot be captured, has no chain of residual units, or returns several
        tensors of which none is the logits; if the chain does not compute what the model computes; if
        the output for one example depends on the others in its batch.

    Source: Veit et al. 2016, §3 (the unraveled view).
    """
    if submodule and plain:
        raise ResanalysisError("plain and submodule do not go together: name the model or the part")
    inner, files = unwrapped(model), _files_of(model)
    name = name or type(inner).__name__
    require_rows(example)
    if submodule and files is not None:
        raise ResanalysisError(
            "--stream-weights reads the weights of whole models, and around a part all would be read at once: "
            "leave it or --submodule out"
        )
    with parts_not_compiled(inner), undisturbed(inner):
        if submodule:
            network = unravel_part(inner, example, submodule, name, output)
        else:
            network = _unravel_whole(inner, example, plain, output, name, files)
    return grouped_by_layer(network) if group == "layer" else network


def _files_of(model: nn.Module) -> WeightFiles | None:
    """The files that a model's weights are in, if ``load`` left them there."""
    return getattr(getattr(model, "resanalysis", None), "files", None)


def _unravel_whole(
    model: nn.Module,
    example: Inputs,
    plain: bool,
    output: str | None,
    name: str,
    files: WeightFiles | None,
) -> ResidualNetwork:
    captured = capture(model, example)
    end = chosen_output(captured.returned, example_value, output)
    require_rows_of_numbers(example_value(end), name)
    if plain:
        network = assemble_plain(captured, end, name)
    else:
        network = assemble(captured, find_trunk(captured.module.graph, end), name)
    if files is not None:
        network = replace(network, files=files)
        files.release_after(network.parts().values())
    check_view(network, model, example)

    def analysed(inputs: Inputs) -> Tensor:
        found = logits_of(model_output(model, inputs), output)
        assert found is not None  # the rule that chose it in the graph chooses it here
        return found

    check_examples_apart(model, analysed, example, name, captured.batch_size)
    return replace(network, outputs=math.prod(shape_of(end)))
