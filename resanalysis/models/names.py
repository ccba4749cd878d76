"""The architecture a user names: ``resnet56``, ``resnet110v2``, ``plain56``, ``resnet50``, ``timm:…``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torchvision
from torch import Tensor

from resanalysis.models.architecture import Architecture
from resanalysis.models.depths import units_per_stage, usual_bottleneck
from resanalysis.models.survival import linear_decay

State = Mapping[str, Tensor]

_RESNET = re.compile(r"(cifar[_-]?)?resnet[_-]?(\d+)[_-]?(v[12])?(-bottleneck|-basic)?")
_STOCHASTIC = re.compile(r"stochastic[_-]?depth[_-]?(\d+)")
_BY_DEPTH = re.compile(r"(plain|highway|cifar[_-]?vgg)[_-]?(\d+)")


def architecture_named(name: str, state: State | None = None) -> Architecture:
    """The architecture of a name.

    Classes, channels, width and the kind of shortcut are read off ``state`` where it is given. Depths
    18, 34, 50, 101 and 152 are the ImageNet networks of torchvision; every depth 6n + 2 or 9n + 2 is He
    et al.'s CIFAR network, also by the full name ``cifar_resnet56``.

    Raises
    ------
    ValueError : for a name of none.
    """
    if ":" in name:
        library, _, _ = name.partition(":")
        if library not in {"torchvision", "timm"}:
            raise ValueError(f"no architecture {name!r}: write torchvision:NAME or timm:NAME")
        return Architecture(name, classes_option(state))
    own = _own(name, state or {})
    if own is not None:
        return own
    if name in torchvision.models.list_models():
        return Architecture(f"torchvision:{name}", classes_option(state))
    raise ValueError(
        f"no architecture {name!r}: write resnet56, resnet110v2, plain56, highway32, "
        "stochastic-depth110 or cifar_vgg16, a torchvision name such as resnet50, or timm:NAME"
    )


def _own(name: str, state: State) -> Architecture | None:
    match = _RESNET.fullmatch(name)
    if match and (
        match[1] or match[3] or match[4] or f"resnet{match[2]}" not in torchvision_names()
    ):
        return _resnet(int(match[2]), 2 if match[3] == "v2" else 1, match[4] or "", state)
    match = _STOCHASTIC.fullmatch(name)
    if match:
        depth = int(match[1])
        survival = linear_decay(3 * units_per_stage(depth), 0.5)
        options = {"depth": depth, "version": 1, **cifar_shapes(state)}
        return Architecture(
            "cifar_resnet", {**options, "shortcut": "pool", "survival": list(survival)}
        )
    match = _BY_DEPTH.fullmatch(name)
    if match is None:
        return None
    family = "cifar_vgg" if match[1].startswith("cifar") else match[1]
    key = "group1.0.conv.weight" if family == "cifar_vgg" else "conv1.weight"
    return Architecture(family, {"depth": int(match[2]), **first_layer(state, key)})


def _resnet(depth: int, version: int, kind: str, state: State) -> Architecture:
    """Told apart by the weights, by what the name says, or by what the papers' network of it is."""
    bottleneck = (
        "layer1.0.conv3.weight" in state
        if state
        else kind == "-bottleneck" or (kind != "-basic" and usual_bottleneck(depth))
    )
    units_per_stage(depth, 3 if bottleneck else 2)
    options: dict[str, Any] = {"depth": depth, "version": version}
    if bottleneck:
        options |= {"bottleneck": True, "shortcut": "B"}
    return Architecture("cifar_resnet", {**options, **cifar_shapes(state)})


def torchvision_names() -> frozenset[str]:
    """What torchvision calls its models."""
    return frozenset(torchvision.models.list_models())


def classes_option(state: State | None) -> dict[str, Any]:
    """The number of classes of a torchvision or timm model, read off its classifier."""
    for key in ("fc.weight", "classifier.weight", "head.weight", "classifier.1.weight"):
        if state and key in state and state[key].ndim == 2:
            return {"num_classes": int(state[key].shape[0])}
    return {}


def first_layer(state: State, key: str) -> dict[str, Any]:
    """Width, image channels and classes, read off the first and the last layer."""
    found: dict[str, Any] = {}
    if key in state and state[key].ndim == 4:
        width, channels = state[key].shape[:2]
        found |= {"width": int(width), "channels": int(channels)}
    if "linear.weight" in state and state["linear.weight"].ndim == 2:
        found["classes"] = int(state["linear.weight"].shape[0])
    return found


def cifar_shapes(state: State) -> dict[str, Any]:
    """What else the weights of a CIFAR ResNet tell: widths and the kind of shortcut."""
    found = first_layer(state, "conv1.weight")
    inner = state.get("layer1.0.conv1.weight")
    if inner is not None and inner.ndim == 4 and found.get("width") != int(inner.shape[0]):
        found |= {"stem": found.get("width"), "width": int(inner.shape[0])}
    if state:
        projected = any(".shortcut." in key for key in state)
        everywhere = any(key.startswith("layer1.1.shortcut.") for key in state)
        found["shortcut"] = "C" if everywhere else "B" if projected else "A"
    return found
