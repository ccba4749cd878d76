"""A network that can be made without weights: a name and plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from resanalysis.errors import ResanalysisError
from resanalysis.models.families import FAMILIES


@dataclass(frozen=True)
class Architecture:
    """A model that can be made without weights.

    Attributes
    ----------
    name : one of ``FAMILIES``, or a name of torchvision or timm with its prefix.
    options : arguments of its constructor, plain values.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def own(self) -> bool:
        """Whether it is of a family of this package."""
        return self.name in FAMILIES

    def __str__(self) -> str:
        if not self.own:
            return self.name
        family = FAMILIES[self.name]
        return family.label(self.options)

    def make(self) -> nn.Module:
        """The model with random weights.

        Raises
        ------
        ResanalysisError : if there is no such architecture, or its options do not fit.
        """
        if self.own:
            return FAMILIES[self.name].make(**self.options)
        library, _, name = self.name.rpartition(":")
        if library == "timm":
            import timm

            if not timm.is_model(name):
                raise ResanalysisError(f"timm has no model {name!r}; its names: timm.list_models()")
            return timm.create_model(name, pretrained=False, **self.options)
        import torchvision

        if name not in torchvision.models.list_models():
            raise ResanalysisError(
                f"torchvision has no model {name!r}; its names: torchvision.models.list_models()"
            )
        return torchvision.models.get_model(name, weights=None, **self.options)
