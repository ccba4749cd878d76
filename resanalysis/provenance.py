"""What made a table: said once, with every table, and recorded in the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Provenance:
    """Where the numbers of a table come from: what a figure's caption has to state.

    Attributes
    ----------
    model, data, n, subset : what was measured, on how many examples, and which part of the data these are.
    seed : of whatever is drawn.
    arithmetic : of the forward passes.
    batch_norm : which statistics normalise.
    protocol : what else the experiment did, by the names of its options, and what it found beside its table.
    """

    model: str
    data: str
    n: int
    seed: int | None
    subset: str = ""
    arithmetic: str = "float32"
    batch_norm: str = "running statistics"
    protocol: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @staticmethod
    def of(network: Any, data: Any, seed: int | None, **protocol: Any) -> Provenance:
        """Of a network's measurement on examples; data that is no ``Dataset`` has no name."""
        return Provenance(
            model=network.name,
            data=getattr(data, "name", "data"),
            n=len(data),
            seed=seed,
            subset=getattr(data, "subset", ""),
            arithmetic=network.arithmetic,
            protocol=protocol,
        )

    def facts(self) -> dict[Any, Any]:
        """Flat, as a table carries it in ``attrs`` and the manifest as ``facts``."""
        said = {name: value for name, value in vars(self).items() if name != "protocol"}
        return {**said, **self.protocol}
