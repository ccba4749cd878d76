"""The network that a training begins with: one of random weights, or one that was trained before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resanalysis.checkpoint import CheckpointError, load, read_checkpoint
from resanalysis.datasets.bundled import bundled_file
from resanalysis.errors import ResanalysisError
from resanalysis.models.architecture import Architecture
from resanalysis.models.families import FAMILIES
from resanalysis.models.names import architecture_named
from resanalysis.models.survival import set_survival, survivals
from resanalysis.statistics.path_length import parsed_survival

# What a checkpoint of ours says of the training that it is from.
_OF_A_TRAINING = ("recipe", "seed", "data", "history", "began_with")


@dataclass(frozen=True)
class Beginning:
    """A network before its first batch.

    Attributes
    ----------
    architecture, model : every unit's survival is in both.
    began_with : of weights that were trained before, name and sha256 of their checkpoint and what it
        records of their training: recipe, seed, data, history; empty of random ones.
    """

    architecture: Architecture
    model: nn.Module
    began_with: Mapping[str, Any] = field(default_factory=dict[str, Any])


def random_network(
    arch: str, options: Mapping[str, Any], sizes: Mapping[str, int], seed: int
) -> Beginning:
    """A network by name, for ``sizes`` (``classes`` and ``channels``), with random weights.

    Raises
    ------
    ResanalysisError : if it is for large images, or has not those options.
    """
    named = architecture_named(arch)
    _check_options(arch, named, options)
    architecture = Architecture(named.name, {**named.options, **options, **sizes})
    torch.manual_seed(seed)
    return Beginning(architecture, architecture.make())


def trained_network(source: str, sizes: Mapping[str, int], seed: int) -> Beginning:
    """The network of a checkpoint of ``train``, with its weights and running statistics.

    Parameters
    ----------
    source : a file, or ``bundled:NAME``.

    Raises
    ------
    ResanalysisError : if it is no such checkpoint, or not for ``sizes``.
    """
    scheme, _, name = source.partition(":")
    bundled = scheme == "bundled" and name
    path = bundled_file(name, ".pt", "model", CheckpointError) if bundled else Path(source)
    content = read_checkpoint(path)
    trained = load(path)
    info: Any = trained.resanalysis
    architecture: Architecture = info.built
    if not architecture.own:
        raise ResanalysisError(
            f"it is {architecture}, and training knows networks of its own for small images"
        )
    for what, wanted in sizes.items():
        found = architecture.options.get(what, wanted)
        if found != wanted:
            raise ResanalysisError(f"it is for {found} {what}, and the data have {wanted}")
    # Dropout takes its chance from torch's own generator.
    torch.manual_seed(seed)
    model = architecture.make()
    model.load_state_dict(trained.state_dict())
    earlier = {key: content[key] for key in _OF_A_TRAINING if key in content}
    return Beginning(architecture, model, {"name": info.name, "sha256": info.sha256, **earlier})


def leaving_out(
    beginning: Beginning, stochastic_depth: str | None, train_units: int | None
) -> Beginning:
    """The same network, whose branches run as often as the training lets them.

    Raises
    ------
    ResanalysisError : if it has no branches, or fewer than shall run.
    """
    if stochastic_depth is None and train_units is None:
        return beginning
    units = len(survivals(beginning.model))
    if units == 0:
        raise ResanalysisError("it has no branches that could be left out")
    if train_units is None:
        probabilities = parsed_survival(str(stochastic_depth), units)
    elif train_units > units:
        raise ResanalysisError(f"{train_units} of its {units} units cannot run in a batch")
    else:
        probabilities = [train_units / units] * units
    set_survival(beginning.model, probabilities)
    old = beginning.architecture
    architecture = Architecture(old.name, {**old.options, "survival": probabilities})
    return Beginning(architecture, beginning.model, beginning.began_with)


def _check_options(arch: str, named: Architecture, options: Mapping[str, Any]) -> None:
    """Refuse a network for large images, and options that its family does not have."""
    if not named.own:
        cifar = f"cifar_{arch.partition(':')[2] or arch}"
        raise ResanalysisError(
            "it is for large images, and training knows networks for small ones, such as resnet56, "
            f"plain56 and cifar_vgg16; write {cifar} if that is what is meant"
        )
    known = FAMILIES[named.name].options
    unknown = [name for name in options if name not in known]
    if unknown:
        there = ", ".join(sorted(name.replace("_", "-") for name in known))
        option = f"{unknown[0].replace('_', '-')} {options[unknown[0]]}"
        raise ResanalysisError(f"it has no option {option}; it has {there}")
