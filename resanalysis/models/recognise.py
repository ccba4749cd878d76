"""Which architecture a state dict belongs to: from a name, or from its keys and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torchvision
from torch import Tensor, nn

from resanalysis.models.cifar_resnet import CifarResNet

State = Mapping[str, Tensor]

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


@dataclass(frozen=True)
class Architecture:
    """A model that can be made without weights.

    Attributes
    ----------
    name : ``cifar_resnet``, or a name of torchvision or timm with its prefix.
    options : arguments of its constructor, plain values.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __str__(self) -> str:
        if self.name != "cifar_resnet":
            return self.name
        version = "v2" if self.options.get("version") == 2 else ""
        return f"resnet{self.options['depth']}{version}"

    def make(self) -> nn.Module:
        """The model with random weights.

        Raises
        ------
        ValueError : if there is no such architecture, or its options do not fit.
        """
        library, _, name = self.name.rpartition(":")
        if self.name == "cifar_resnet":
            return CifarResNet(**self.options)
        if library == "timm":
            import timm

            if not timm.is_model(name):
                raise ValueError(f"timm has no model {name!r}; its names: timm.list_models()")
            return timm.create_model(name, pretrained=False, **self.options)
        if name not in torchvision.models.list_models():
            raise ValueError(
                f"torchvision has no model {name!r}; its names: torchvision.models.list_models()"
            )
        return torchvision.models.get_model(name, weights=None, **self.options)


def architecture_named(name: str, state: State | None = None) -> Architecture:
    """The architecture a user names: ``resnet56``, ``resnet110v2``, ``resnet50``, ``timm:…``.

    Classes, channels, width and the kind of shortcut are read off ``state`` where it is given. Depths
    18, 34, 50, 101 and 152 are the ImageNet networks of torchvision; every depth 6n + 2 is He et al.'s
    CIFAR network, also by the full name ``cifar_resnet56``.

    Raises
    ------
    ValueError : for a name that is neither.
    """
    if ":" in name:
        library, _, _ = name.partition(":")
        if library not in {"torchvision", "timm"}:
            raise ValueError(f"no architecture {name!r}: write torchvision:NAME or timm:NAME")
        return Architecture(name, _classes_option(state))
    match = re.fullmatch(r"(cifar[_-]?)?resnet[_-]?(\d+)[_-]?(v[12])?", name)
    if match and (
        match[1] or match[3] or f"resnet{match[2]}" not in torchvision.models.list_models()
    ):
        depth = int(match[2])
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(
                f"no CIFAR ResNet has depth {depth}: it is 6n + 2 (20, 32, 44, 56, 110…), "
                f"the nearest is {max(8, 6 * round((depth - 2) / 6) + 2)}"
            )
        options: dict[str, Any] = {"depth": depth, "version": 2 if match[3] == "v2" else 1}
        return Architecture("cifar_resnet", {**options, **_cifar_shapes(state or {})})
    if name in torchvision.models.list_models():
        return Architecture(f"torchvision:{name}", _classes_option(state))
    raise ValueError(
        f"no architecture {name!r}: write resnet56 or resnet110v2 (CIFAR, any depth 6n + 2), a "
        "torchvision name such as resnet50, or timm:NAME"
    )


def recognised(state: State) -> Architecture | None:
    """The architecture whose keys and shapes these are, or ``None``."""
    return _recognised_cifar(state) or _recognised_torchvision(state)


def _classes_option(state: State | None) -> dict[str, Any]:
    for key in ("fc.weight", "classifier.weight", "head.weight", "classifier.1.weight"):
        if state and key in state and state[key].ndim == 2:
            return {"num_classes": int(state[key].shape[0])}
    return {}


def _cifar_shapes(state: State) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "conv1.weight" in state and state["conv1.weight"].ndim == 4:
        width, channels = state["conv1.weight"].shape[:2]
        found |= {"width": int(width), "channels": int(channels)}
    if "linear.weight" in state and state["linear.weight"].ndim == 2:
        found["classes"] = int(state["linear.weight"].shape[0])
    if state:
        found["shortcut"] = "B" if any(".shortcut." in key for key in state) else "A"
    return found


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
    options = {"depth": 6 * stages[1] + 2, "version": version, **_cifar_shapes(state)}
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
    return None if name is None else Architecture(f"torchvision:{name}", _classes_option(state))


def common_key_names(state: State) -> dict[str, Tensor]:
    """The state with the names other CIFAR ResNets use (``fc``, ``downsample``) put into ours."""
    if list(_stages(state)) != [1, 2, 3]:
        return dict(state)
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        key = re.sub(r"^fc\.", "linear.", key)
        renamed[key.replace(".downsample.", ".shortcut.")] = value
    return renamed
