"""Which architecture a state dict belongs to, from its keys and shapes."""

from __future__ import annotations

import re

from torch import Tensor

from resanalysis.models.architecture import Architecture
from resanalysis.models.names import State, cifar_shapes, classes_option

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
    return _recognised_cifar(state) or _recognised_torchvision(state)


def _stages(state: State) -> dict[int, int]:
    """Blocks per ``layerN``; empty where a block is missing in the middle."""
    blocks: dict[int, set[int]] = {}
    for key in state:
        match = re.match(r"layer(\d+)\.(\d+)\.", key)
        if match:
            blocks.setdefault(int(match[1]), set()).add(int(match[2]))
    if any(found != set(range(len(found))) for found in blocks.values()):
        return {}
    return {stage: len(found) for stage, found in sorted(blocks.items())}


def _recognised_cifar(state: State) -> Architecture | None:
    stages = _stages(state)
    if list(stages) != [1, 2, 3] or len(set(stages.values())) != 1:
        return None
    if "linear.weight" not in state or "conv1.weight" not in state:
        return None
    if tuple(state["conv1.weight"].shape[2:]) != (3, 3) or "layer1.0.conv3.weight" in state:
        return None
    if "bn.weight" in state:
        version = 2
    elif "bn1.weight" in state:
        version = 1
    else:
        return None
    options = {"depth": 6 * stages[1] + 2, "version": version, **cifar_shapes(state)}
    return Architecture("cifar_resnet", options)


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
