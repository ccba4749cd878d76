"""Several models by name, to be measured side by side on one data set."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from resanalysis.errors import ResanalysisError
from resanalysis.run.subject import data_for, device_named

if TYPE_CHECKING:
    from torch import nn

    from resanalysis.checkpoint import ModelInfo
    from resanalysis.datasets import Dataset


@dataclass(frozen=True, eq=False)
class Several:
    """Models that are compared, each with the data normalised its own way.

    Attributes
    ----------
    models, examples : by label.
    specs, hashes : what the user named, and sha256 of the contents, by label.
    """

    models: Mapping[str, nn.Module]
    examples: Mapping[str, Dataset]
    specs: Mapping[str, str]
    hashes: Mapping[str, str | None]
    source: str
    device: str = "cpu"
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def model(self) -> str:
        """The models as the user named them."""
        return ", ".join(self.specs.values())

    @property
    def data(self) -> Dataset:
        """The examples, which are the same for every model."""
        return next(iter(self.examples.values()))

    @property
    def data_sha256(self) -> str | None:
        """Of the data's contents."""
        return self.data.sha256

    @property
    def model_sha256(self) -> str | None:
        """Of one model's contents; of all hashes in order where there are several."""
        known = [self.hashes[label] or self.specs[label] for label in self.models]
        if len(known) == 1:
            return next(iter(self.hashes.values()))
        return hashlib.sha256("\n".join(known).encode()).hexdigest()

    def view(self) -> dict[str, Any]:
        """Each model in brief."""
        return {
            label: {
                "model": self.specs[label],
                "sha256": self.hashes[label],
                "parameters": sum(p.numel() for p in model.parameters()),
            }
            for label, model in self.models.items()
        }


def load_several(
    specs: Sequence[str],
    source: str,
    *,
    arch: str | None = None,
    trust_pickle: bool = False,
    submodule: str | None = None,
    normalize: str | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    limit: int | None = None,
    device: str | None = None,
    seed: int = 0,
) -> Several:
    """Load models and their data. The other arguments are those of ``load_subject``.

    Parameters
    ----------
    specs : a model each, or ``LABEL=MODEL`` to say what tables and figures call it.

    Raises
    ------
    CheckpointError, DataError : naming what was found and what to do.
    ResanalysisError : if two models have one label.
    """
    from resanalysis.checkpoint import check_fit, load, submodule_of

    named = labelled(specs)
    device = device_named(device)
    started = time.perf_counter()
    models: dict[str, nn.Module] = {}
    examples: dict[str, Dataset] = {}
    hashes: dict[str, str | None] = {}
    for label, spec in named.items():
        model = load(spec, arch=arch, trust_pickle=trust_pickle)
        if submodule:
            submodule_of(model, submodule)
        info = cast("ModelInfo | None", getattr(model, "resanalysis", None))
        models[label] = model
        hashes[label] = None if info is None else info.sha256
        seen = examples[label] = data_for(
            info, source, normalize=normalize, mean=mean, std=std, limit=limit, seed=seed
        )
        check_fit(model, seen.batch(0, min(2, len(seen)))[0], info, spec, source)
    return Several(
        models=models,
        examples=examples,
        specs=named,
        hashes=hashes,
        source=source,
        device=device,
        seconds={"load": time.perf_counter() - started},
    )


def labelled(specs: Sequence[str]) -> dict[str, str]:
    """Models by label: the one given as ``LABEL=MODEL``, else the file's or the name's own.

    Raises
    ------
    ResanalysisError : if two models have one label.
    """
    found: dict[str, str] = {}
    for spec in specs:
        given = None if Path(spec).exists() else re.fullmatch(r"([^=:?/\\]+)=(.+)", spec)
        label, model = (given[1], given[2]) if given else (_own_label(spec), spec)
        if label in found:
            raise ResanalysisError(
                f"two models are called {label!r}: {found[label]} and {model}; name them apart, as "
                "LABEL=MODEL"
            )
        found[label] = model
    return found


def _own_label(spec: str) -> str:
    if Path(spec).exists():
        return Path(spec).stem
    scheme, colon, name = spec.partition(":")
    return name.partition("?")[0].rstrip("/").rpartition("/")[2] if colon else scheme
