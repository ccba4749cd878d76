"""Which architecture a state dict belongs to, from its keys and shapes."""

from __future__ import annotations

import re

from torch import Tensor

from resanalysis.models.architecture import Architecture
from resanalysis.models.names import (
    State,
    cifar_shapes,
    classes_option,
    first_layer,
    small_vit_shapes,
)

_TORCHVISION_RESNETS: dict[tuple[tuple[int, ...], bool, int, int], str] = {
    # blocks per stage, bottleneck, width of the first 3×3 convolution, groups
    ((2, 2, 2, 2), False, 64, 64): "resnet18",
    ((3, 4, 6, 3), False, 64, 64): "resnet34",
    ((3, 4, 6, 3), True, 64, 64): "resnet50",
    ((3, 4, 23, 3), True, 64, 64): "resnet101",
    ((3, 8, 36, 3), True, 64, 64): "resnet152",
    ((3, 4, 6, 3), True, 128, 4): "resnext50_32x4d",
    ((3, 4, 23, 3), True, 256, 8): "resnext101_32x8d",
    ((3, 4, 23, 3), True, 256, 4): "resnext101_64x4d",
    ((3, 4, 6, 3), True, 128, 128): "wide_resnet50_2",
    ((3, 4, 23, 3), True, 128, 128): "wide_resnet101_2",
}


def recognised(state: State) -> Architecture | None:
    """The architecture whose keys and shapes these are, or ``None``."""
    return (
        _recognised_cifar(state)
        or _recognised_multi_residual(state)
        or _recognised_highway(state)
        or _recognised_vgg(state)
        or _recognised_small_vit(state)
        or _recognised_torchvision(state)
    )


def _stages(state: State) -> dict[int, int]:
    """Blocks per ``layerN``; empty where a block is missing in the middle."""
    blocks: dict[int, set[int]] = {}
    for key in state:
        match = re.match(r"layer(\d+)\.(\d+)\.", key)
        if match:
            blocks.setdefault(int(match[1]), set()).add(int(match[2]))
    # A file that lacks a block in the middle is damaged, and would be taken for a shallower network.
    if any(found != set(range(len(found))) for found in blocks.values()):
        return {}
    return {stage: len(found) for stage, found in sorted(blocks.items())}


def _recognised_cifar(state: State) -> Architecture | None:
    """A ResNet of basic units, v1 or v2.

    A bottleneck's stride may stand at either of two convolutions, which weights do not show; units with
    other parts belong to another family. A plain network has the weights of a ResNet and is taken for one.
    """
    depth = _depth_of_equal_stages(state)
    if depth is None or _unit_parts(state) - {"conv1", "bn1", "conv2", "bn2", "shortcut"}:
        return None
    if "bn.weight" in state:
        version = 2
    elif "bn1.weight" in state:
        version = 1
    else:
        return None
    options = {"depth": depth, "version": version, **cifar_shapes(state)}
    return Architecture("cifar_resnet", options)


def _recognised_multi_residual(state: State) -> Architecture | None:
    depth, parts = _depth_of_equal_stages(state), _unit_parts(state)
    if depth is None or not parts or not all(part.startswith("branches.") for part in parts):
        return None
    options = {"depth": depth, "branches": len(parts)}
    return Architecture("multi_residual", {**options, **first_layer(state, "conv1.weight")})


def _depth_of_equal_stages(state: State) -> int | None:
    """Layers of three equal stages of units of two, a stem and a classifier."""
    stages = _stages(state)
    if list(stages) != [1, 2, 3] or len(set(stages.values())) != 1 or not _has_ends(state):
        return None
    return 6 * stages[1] + 2


def _recognised_highway(state: State) -> Architecture | None:
    stages = _stages(state)
    if list(stages) != [1, 2, 3] or not _has_ends(state):
        return None
    if set(_unit_parts(state)) - {"conv", "bn", "gate"} or "layer1.0.gate.bias" not in state:
        return None
    # A plain layer opens stages 2 and 3; the stem and the classifier are layers too.
    return Architecture(
        "highway", {"depth": sum(stages.values()) + 2, **first_layer(state, "conv1.weight")}
    )


def _recognised_vgg(state: State) -> Architecture | None:
    layers = {match[0] for key in state if (match := re.match(r"group\d\.\d\.conv\.weight$", key))}
    if not layers or not {"hidden1.weight", "hidden2.weight", "linear.weight"} <= set(state):
        return None
    shapes = first_layer(state, "group1.0.conv.weight")
    return Architecture("cifar_vgg", {"depth": len(layers) + 3, **shapes})


def _recognised_small_vit(state: State) -> Architecture | None:
    layers = {
        match[0]
        for key in state
        if (match := re.match(r"layers\.\d+\.attention\.qkv\.weight$", key))
    }
    if not layers or not {"patches.weight", "linear.weight"} <= set(state):
        return None
    return Architecture("small_vit", {"depth": len(layers), **small_vit_shapes(state)})


def _has_ends(state: State) -> bool:
    """Whether there are a 3×3 stem and a linear classifier."""
    stem = state.get("conv1.weight")
    return stem is not None and tuple(stem.shape[2:]) == (3, 3) and "linear.weight" in state


def _unit_parts(state: State) -> set[str]:
    """What the units are made of: ``conv1``, ``bn1``, ``shortcut``, ``branches.0``…"""
    parts: set[str] = set()
    for key in state:
        match = re.match(r"layer\d+\.\d+\.(branches\.\d+|[^.]+)", key)
        if match:
            parts.add(match[1])
    return parts


def _recognised_torchvision(state: State) -> Architecture | None:
    stages = _stages(state)
    if list(stages) != [1, 2, 3, 4] or "fc.weight" not in state:
        return None
    bottleneck = "layer1.0.conv3.weight" in state
    middle = state.get("layer1.0.conv2.weight")
    if middle is None or middle.ndim != 4:
        return None
    width, per_group = int(middle.shape[0]), int(middle.shape[1])
    key = (tuple(stages.values()), bottleneck, width, per_group)
    name = _TORCHVISION_RESNETS.get(key)
    return None if name is None else Architecture(f"torchvision:{name}", classes_option(state))


def common_key_names(state: State) -> dict[str, Tensor]:
    """The state with the names other CIFAR ResNets use (``fc``, ``downsample``) put into ours."""
    if list(_stages(state)) != [1, 2, 3]:
        return dict(state)
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        key = re.sub(r"^fc\.", "linear.", key)
        renamed[key.replace(".downsample.", ".shortcut.")] = value
    return renamed
