"""The families of networks: what makes them from plain values, and how they are called in short."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from resanalysis.models.activation_orders import activation_order
from resanalysis.models.cifar_resnet import CifarResNet
from resanalysis.models.depths import usual_bottleneck
from resanalysis.models.highway import highway
from resanalysis.models.multi_residual import multi_residual
from resanalysis.models.plain import plain
from resanalysis.models.resnext import resnext
from resanalysis.models.scaled_branches import scaled_branches
from resanalysis.models.shortcut_variants import shortcut_variant
from resanalysis.models.small_vit import SmallViT
from resanalysis.models.vgg import CifarVGG

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """One kind of network.

    Attributes
    ----------
    make : the network with random weights, from options by name.
    label : its short name, which ``--arch`` takes.
    """

    make: Callable[..., nn.Module]
    label: Callable[[Options], str]

    @property
    def options(self) -> frozenset[str]:
        """The names of what ``make`` takes."""
        return frozenset(inspect.signature(self.make).parameters)


def _resnet_label(options: Options) -> str:
    depth = options["depth"]
    if options.get("shortcut") == "pool" and options.get("survival"):
        return f"stochastic-depth{depth}"
    version = "v2" if options.get("version") == 2 else ""
    stem, width = options.get("stem"), options.get("width", 16)
    if version and stem and width % stem == 0:
        return f"wrn{depth + 2}-{width // stem}"
    bottleneck = bool(options.get("bottleneck"))
    usual = bottleneck == usual_bottleneck(depth)
    return f"resnet{depth}{version}" + ("" if usual else "-bottleneck" if bottleneck else "-basic")


def _labelled(template: str, **defaults: int) -> Callable[[Options], str]:
    return lambda options: template.format(**{**defaults, **options})


FAMILIES: dict[str, Family] = {
    "cifar_resnet": Family(CifarResNet, _resnet_label),
    "plain": Family(plain, _labelled("plain{depth}")),
    "highway": Family(highway, _labelled("highway{depth}")),
    "cifar_vgg": Family(CifarVGG, _labelled("cifar_vgg{depth}")),
    "activation_order": Family(activation_order, _labelled("resnet{depth}-{order}")),
    "shortcut_variant": Family(shortcut_variant, _labelled("resnet{depth}-{variant}")),
    "scaled_branches": Family(scaled_branches, _labelled("resnet{depth}-{scaling}")),
    "resnext": Family(
        resnext, _labelled("cifar_resnext{depth}-{groups}x{width}", groups=8, width=64)
    ),
    "multi_residual": Family(
        multi_residual, _labelled("multi-residual{depth}-{branches}", branches=2)
    ),
    "small_vit": Family(SmallViT, _labelled("small-vit{depth}")),
}
