"""The architecture a user names: ``resnet56``, ``resnet110v2``, ``plain56``, ``resnet50``, ``timm:…``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from resanalysis.errors import ResanalysisError
from resanalysis.models.activation_orders import ORDERS
from resanalysis.models.architecture import Architecture
from resanalysis.models.depths import nearest_depth, units_per_stage, usual_bottleneck
from resanalysis.models.scaled_branches import SCALINGS
from resanalysis.models.shortcut_variants import VARIANTS
from resanalysis.statistics.path_length import linear_survival

State = Mapping[str, Tensor]

_RESNET = re.compile(r"(cifar[_-]?)?resnet[_-]?(\d+)[_-]?(v[12])?(-[a-z-]+)?")
_WIDE = re.compile(r"wrn[_-]?(\d+)[_-](\d+)")
_RESNEXT = re.compile(r"cifar[_-]?resnext[_-]?(\d+)[_-](\d+)x(\d+)")
_MULTI = re.compile(r"multi[_-]?residual[_-]?(\d+)(?:-(\d+))?")
_STOCHASTIC = re.compile(r"stochastic[_-]?depth[_-]?(\d+)")
_SMALL_VIT = re.compile(r"small[_-]?vit[_-]?(\d+)")
_BY_DEPTH = re.compile(r"(plain|highway|cifar[_-]?vgg)[_-]?(\d+)")
# ResNets of torchvision, which are named without a prefix; written out, since importing it takes half a second.
_IMAGENET = ("18", "34", "50", "101", "152")
_KNOWN = (
    "resnet56, resnet110v2, resnet164v2 (CIFAR, depth 6n + 2, or 9n + 2 for bottlenecks), plain56, "
    "highway32, stochastic-depth110, cifar_vgg16, wrn28-10, cifar_resnext29-8x64, multi-residual110-2, "
    "small-vit12"
)
_ENDINGS = {
    **dict.fromkeys(ORDERS, ("activation_order", "order")),
    **dict.fromkeys(VARIANTS, ("shortcut_variant", "variant")),
    **dict.fromkeys(SCALINGS, ("scaled_branches", "scaling")),
}


def architecture_named(name: str, state: State | None = None) -> Architecture:
    """The architecture of a name.

    Classes, channels, width and the kind of shortcut are read off ``state`` where it is given. Depths
    18, 34, 50, 101 and 152 are the ImageNet networks of torchvision; every depth 6n + 2 or 9n + 2 is He
    et al.'s CIFAR network, also by the full name ``cifar_resnet56``.

    Raises
    ------
    ResanalysisError : for a name of none.
    """
    if ":" in name:
        library, _, _ = name.partition(":")
        if library not in {"torchvision", "timm"}:
            raise ResanalysisError(f"no architecture {name!r}: write torchvision:NAME or timm:NAME")
        return Architecture(name, classes_option(state))
    own = _own(name, state or {})
    if own is not None:
        return own
    import torchvision

    if name in torchvision.models.list_models():
        return Architecture(f"torchvision:{name}", classes_option(state))
    raise ResanalysisError(
        f"no architecture {name!r}: write {_KNOWN}, a torchvision name such as resnet50, or timm:NAME"
    )


def _own(name: str, state: State) -> Architecture | None:
    """The architecture of one of our families, or ``None``."""
    for pattern, architecture in (
        (_RESNET, _resnet),
        (_WIDE, _wide),
        (_RESNEXT, _resnext),
        (_MULTI, _multi_residual),
        (_STOCHASTIC, _stochastic_depth),
        (_SMALL_VIT, _small_vit),
        (_BY_DEPTH, _by_depth),
    ):
        match = pattern.fullmatch(name)
        if match:
            return architecture(match, state)
    return None


def _resnet(match: re.Match[str], state: State) -> Architecture | None:
    """A CIFAR ResNet, or ``None`` for what torchvision calls so."""
    cifar, digits, version, ending = match[1], match[2], match[3], (match[4] or "")[1:]
    if not (cifar or version or ending) and digits in _IMAGENET:
        return None
    depth = int(digits)
    if ending in _ENDINGS:
        family, option = _ENDINGS[ending]
        units_per_stage(depth)
        shapes = first_layer(state, "conv1.weight")
        return Architecture(family, {"depth": depth, option: ending, **shapes})
    bottleneck = _is_bottleneck(depth, ending, state)
    units_per_stage(depth, 3 if bottleneck else 2)
    options: dict[str, Any] = {"depth": depth, "version": 2 if version == "v2" else 1}
    if bottleneck:
        options |= {"bottleneck": True, "shortcut": "B"}
    return Architecture("cifar_resnet", {**options, **cifar_shapes(state)})


def _is_bottleneck(depth: int, ending: str, state: State) -> bool:
    """Told by what the name says, by the weights, or by what the papers' network of the depth is.

    Raises
    ------
    ResanalysisError : for another ending, or a depth that is neither 6n + 2 nor 9n + 2.
    """
    if ending in ("bottleneck", "basic"):
        return ending == "bottleneck"
    if ending:
        endings = ", ".join(["basic", "bottleneck", *_ENDINGS])
        raise ResanalysisError(
            f"no architecture resnet{depth}-{ending}: {ending!r} is none of {endings}"
        )
    if depth < 8 or ((depth - 2) % 6 and (depth - 2) % 9):
        raise ResanalysisError(
            f"no CIFAR ResNet has depth {depth}: it is 6n + 2 (20, 32, 44, 56, 110…; the nearest is "
            f"{nearest_depth(depth, 2)}), or 9n + 2 with bottleneck units (164, 1001…; the nearest is "
            f"{nearest_depth(depth, 3)})"
        )
    return "layer1.0.conv3.weight" in state if state else usual_bottleneck(depth)


def _wide(match: re.Match[str], state: State) -> Architecture:
    """Zagoruyko and Komodakis 2016: depth 6n + 4 counts the projections, the stem keeps 16 channels."""
    depth, factor = int(match[1]), int(match[2])
    if depth < 10 or (depth - 4) % 6:
        raise ResanalysisError(
            f"a wide residual network has depth 6n + 4 (16, 22, 28, 40), got {depth}"
        )
    options = {"depth": depth - 2, "version": 2, "shortcut": "B", "stem": 16, "width": 16 * factor}
    return Architecture("cifar_resnet", {**options, **cifar_shapes(state)})


def _resnext(match: re.Match[str], state: State) -> Architecture:
    depth, groups, width = (int(number) for number in match.groups())
    units_per_stage(depth, 3)
    shapes = first_layer(state, "conv1.weight")
    if "width" in shapes:
        shapes["stem"] = shapes.pop("width")
    return Architecture("resnext", {**shapes, "depth": depth, "groups": groups, "width": width})


def _multi_residual(match: re.Match[str], state: State) -> Architecture:
    depth = int(match[1])
    units_per_stage(depth)
    options = {"depth": depth, "branches": int(match[2] or 2)}
    return Architecture("multi_residual", {**options, **first_layer(state, "conv1.weight")})


def _stochastic_depth(match: re.Match[str], state: State) -> Architecture:
    """Huang et al. 2016: post-activation, pooled and padded shortcuts, survival falling to one half."""
    depth = int(match[1])
    survival = linear_survival(3 * units_per_stage(depth), 0.5)
    options = {"depth": depth, "version": 1, **first_layer(state, "conv1.weight")}
    return Architecture("cifar_resnet", {**options, "shortcut": "pool", "survival": survival})


def _small_vit(match: re.Match[str], state: State) -> Architecture:
    return Architecture("small_vit", {"depth": int(match[1]), **small_vit_shapes(state)})


def _by_depth(match: re.Match[str], state: State) -> Architecture:
    family = "cifar_vgg" if match[1].startswith("cifar") else match[1]
    key = "group1.0.conv.weight" if family == "cifar_vgg" else "conv1.weight"
    return Architecture(family, {"depth": int(match[2]), **first_layer(state, key)})


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


def small_vit_shapes(state: State) -> dict[str, Any]:
    """What the weights of a small vision transformer tell but its depth."""
    found = first_layer(state, "patches.weight")
    inner = state.get("layers.0.mlp.inner.weight")
    if "width" in found and inner is not None and inner.ndim == 2:
        found["patch"] = int(state["patches.weight"].shape[2])
        found["ratio"] = int(inner.shape[0]) // found["width"]
    return found


def cifar_shapes(state: State) -> dict[str, Any]:
    """What else the weights of a CIFAR ResNet tell: widths and the kind of shortcut."""
    found = first_layer(state, "conv1.weight")
    inner = state.get("layer1.0.conv1.weight")
    if inner is not None and inner.ndim == 4 and found.get("width") != int(inner.shape[0]):
        found |= {"stem": found.get("width"), "width": int(inner.shape[0])}
    if state:
        found["shortcut"] = _shortcut_option(state, widens_at_once="stem" in found)
    return found


def _shortcut_option(state: State, *, widens_at_once: bool) -> str:
    """A without projections, C with one where the shape stays, else B."""
    projections = {key.split(".shortcut.")[0] for key in state if ".shortcut." in key}
    changing = {"layer2.0", "layer3.0"}
    if widens_at_once or "layer1.0.conv3.weight" in state:
        changing.add("layer1.0")
    return "A" if not projections else "B" if projections <= changing else "C"
