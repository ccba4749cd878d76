"""The files of a shortened model: an exported graph, a state dict, and what was removed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from resanalysis.errors import ResanalysisError
from resanalysis.network import Inputs, ResidualNetwork
from resanalysis.routes.shortening import Shortened, exported
from resanalysis.run.atomic import write_atomically
from resanalysis.run.cells import plain

_Identity = tuple[int, tuple[int, ...], tuple[int, ...]]


def remaining_state(
    network: ResidualNetwork, units: Iterable[int], model: nn.Module
) -> dict[str, Tensor]:
    """The model's own state dict without the tensors that only the removed branches read.

    Parameters
    ----------
    model : what ``network`` was made from: its tensors are recognised by their storage.

    Returns
    -------
    dict : copies, by the model's names; tensors that were tied still are. What no unit reads (counters
        of batch norm layers, parts of the model beside the chain) stays, unless all else in its layer went.
    """
    # By storage and not by name: pieces call the weights by names of their own, and tied ones have several.
    kept = {_identity(tensor) for tensor in _tensors([Shortened(network, units)])}
    gone = {_identity(tensor) for tensor in _tensors(network.parts().values())} - kept
    state = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    fates: dict[str, set[bool]] = {}
    for name, tensor in state.items():
        if _identity(tensor) in gone | kept:
            fates.setdefault(name.rpartition(".")[0], set()).add(_identity(tensor) in gone)
    copies: dict[_Identity, Tensor] = {}
    left: dict[str, Tensor] = {}
    for name, tensor in state.items():
        own = _identity(tensor)
        if own in gone or (own not in kept and fates.get(name.rpartition(".")[0]) == {True}):
            continue
        left[name] = copies.setdefault(own, tensor.detach().clone())
    return left


def _tensors(modules: Iterable[nn.Module]) -> list[Tensor]:
    return [tensor for module in modules for tensor in [*module.parameters(), *module.buffers()]]


def _identity(tensor: Tensor) -> _Identity:
    """Pieces wrap the model's tensors in parameters of their own, on the same storage."""
    return tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride())


def write_shortened(
    folder: Path,
    network: ResidualNetwork,
    units: Sequence[int],
    *,
    model: nn.Module,
    example: Inputs,
    replaced: ResidualNetwork | None = None,
    facts: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write ``shortened.pt2``, ``shortened.json`` and, where nothing is in the units' places, ``shortened.pt``.

    Parameters
    ----------
    units : those that go, in the order they went.
    model, example : what ``network`` was made from.
    replaced : the network with something in the place of these units. The model has no names for that, and no
        state dict is written.
    facts : more for ``shortened.json``, such as the order the units were taken from.

    Returns
    -------
    list of Path : the files, each written as a whole or not at all.

    Raises
    ------
    ResanalysisError : if no unit is named: the model as it was is not written again.
    ResultsError : if a file cannot be written.
    """
    if not units:
        raise ResanalysisError("no unit is removed: the shortened model would be the model itself")
    archive = io.BytesIO()
    shorter = network if replaced is None else replaced
    program = exported(shorter, units, example)
    torch.export.save(program, archive)
    contents = {"shortened.pt2": archive.getvalue()}
    record = {
        "model": network.name,
        "removed": _named(network, units),
        "left": _named(network, [u for u in range(len(network)) if u not in units]),
        "inputs": _inputs(program),
        "parameters": sum(tensor.numel() for tensor in Shortened(shorter, units).parameters()),
        "parameters_before": sum(tensor.numel() for tensor in Shortened(network, ()).parameters()),
        **(facts or {}),
    }
    if replaced is None:
        left, state = remaining_state(network, units, model), io.BytesIO()
        torch.save(left, state)
        contents["shortened.pt"] = state.getvalue()
        record["tensors_gone"] = [name for name in model.state_dict() if name not in left]
    text = json.dumps(plain(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    contents["shortened.json"] = text.encode()
    paths = [folder / name for name in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        write_atomically(path, content)
    return paths


def _named(network: ResidualNetwork, units: Sequence[int]) -> list[dict[str, Any]]:
    return [{"unit": unit, "name": network.units[unit].name} for unit in units]


def _inputs(program: ExportedProgram) -> dict[str, Any]:
    """Shape of each input by name; ``batch`` where any size goes."""
    named = set(program.graph_signature.user_inputs)
    return {
        str(node.name): [
            size if isinstance(size, int) else "batch" for size in node.meta["val"].shape
        ]
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in named and isinstance(node.meta["val"], Tensor)
    }
