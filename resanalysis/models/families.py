"""The families of networks: what makes them from plain values, and how they are called in short."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from resanalysis.models.cifar_resnet import CifarResNet
from resanalysis.models.depths import usual_bottleneck
from resanalysis.models.highway import highway
from resanalysis.models.plain import plain
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


def _resnet_label(options: Options) -> str:
    depth = options["depth"]
    if options.get("shortcut") == "pool" and options.get("survival"):
        return f"stochastic-depth{depth}"
    version = "v2" if options.get("version") == 2 else ""
    bottleneck = bool(options.get("bottleneck"))
    usual = bottleneck == usual_bottleneck(depth)
    return f"resnet{depth}{version}" + ("" if usual else "-bottleneck" if bottleneck else "-basic")


FAMILIES: dict[str, Family] = {
    "cifar_resnet": Family(CifarResNet, _resnet_label),
    "plain": Family(plain, lambda options: f"plain{options['depth']}"),
    "highway": Family(highway, lambda options: f"highway{options['depth']}"),
    "cifar_vgg": Family(CifarVGG, lambda options: f"cifar_vgg{options['depth']}"),
}
