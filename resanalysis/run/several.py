"""Several models by name, to be measured side by side on one data set."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resanalysis.errors import LeftOutError, ResanalysisError
from resanalysis.run.reading import Loaded, Reading, read
from resanalysis.run.subject import Subject, check_labels, unraveled

if TYPE_CHECKING:
    from torch import nn

    from resanalysis.datasets import Dataset


@dataclass(frozen=True, eq=False)
class Several:
    """Models that are compared, each with the data normalised its own way.

    Attributes
    ----------
    parts : by label: unraveled, or as they were read.
    """

    parts: Mapping[str, Subject | Loaded]

    @property
    def _first(self) -> Subject | Loaded:
        return next(iter(self.parts.values()))

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The modules by label."""
        return {label: part.module for label, part in self.parts.items()}

    @property
    def each_examples(self) -> dict[str, Dataset]:
        """The data of each, by label."""
        return {label: part.data for label, part in self.parts.items() if part.data is not None}

    @property
    def model(self) -> str:
        """The models as the user named them."""
        return ", ".join(part.model for part in self.parts.values())

    @property
    def source(self) -> str | None:
        """The data as the user named it."""
        return self._first.source

    @property
    def data_from(self) -> str | None:
        """Who named the data."""
        return self._first.data_from

    @property
    def data(self) -> Dataset | None:
        """The examples, which are the same for every model."""
        return self._first.data

    @property
    def data_sha256(self) -> str | None:
        """Of the data's contents."""
        return self._first.data_sha256

    @property
    def model_sha256(self) -> str | None:
        """Of one model's contents; of all hashes in order where there are several."""
        if len(self.parts) == 1:
            return self._first.model_sha256
        known = [part.model_sha256 or part.model for part in self.parts.values()]
        return hashlib.sha256("\n".join(known).encode()).hexdigest()

    @property
    def device(self) -> str:
        """Where they run."""
        return self._first.device

    @property
    def seconds(self) -> dict[str, float]:
        """What reading and unraveling all of them took."""
        names = self._first.seconds
        return {name: sum(p.seconds.get(name, 0.0) for p in self.parts.values()) for name in names}

    def view(self) -> dict[str, Any]:
        """Each model in brief."""
        return {label: part.view() for label, part in self.parts.items()}


def read_several(specs: Sequence[str], source: str | None, how: Reading) -> Several:
    """Models and their data as they are, for what needs no unraveled view.

    Parameters
    ----------
    specs : a model each, or ``LABEL=MODEL`` to say what tables and figures call it.

    Raises
    ------
    CheckpointError, DataError : naming what was found and what to do.
    LeftOutError : if no data is named, and the models bring none, or different examples.
    ResanalysisError : if two models have one label, or labels and outputs do not match.
    """
    from resanalysis.checkpoint import submodule_of

    parts: dict[str, Loaded] = {}
    for label, spec in labelled(specs).items():
        parts[label] = loaded = read(spec, source, how)
        if how.submodule:
            submodule_of(parts[label].module, how.submodule)
        if loaded.data is not None and loaded.data.labels is not None:
            check_labels(loaded.module, loaded.data, loaded.example, loaded.model)
    _check_same_examples(parts)
    return Several(parts)


def load_several(specs: Sequence[str], source: str | None, how: Reading) -> Several:
    """Models unraveled, each under its label.

    With ``how.plain`` those that have no skips are read as chains of layers, and the others as they are: a
    plain network and a residual one are what the papers compare.

    Raises
    ------
    CheckpointError, DataError, UnravelError : naming what was found and what to do.
    LeftOutError : if no data is named, and the models bring none, or different examples.
    ResanalysisError : if two models have one label.
    """
    parts = each_subject(specs, source, how)
    _check_same_examples(parts)
    return Several(parts)


def each_subject(specs: Sequence[str], source: str | None, how: Reading) -> dict[str, Subject]:
    """The same by label, each on the examples it brings where no data is named: they may be others'.

    Raises
    ------
    CheckpointError, DataError, UnravelError : naming what was found and what to do.
    ResanalysisError : if two models have one label.
    """
    parts: dict[str, Subject] = {}
    for label, spec in labelled(specs).items():
        subject = _residual_or_plain(read(spec, source, how), how)
        parts[label] = replace(subject, network=replace(subject.network, name=label))
    return parts


def _check_same_examples(parts: Mapping[str, Subject | Loaded]) -> None:
    """Models that bring their own data are compared only if it is the same, however it is normalised."""
    known: dict[str, str] = {}
    for label, part in parts.items():
        if part.data is not None and part.data_from != "--data":
            known.setdefault(examples_sha256(part.data), label)
    if len(known) > 1:
        one, other = list(known.values())[:2]
        raise LeftOutError(
            f"{one} and {other} bring different examples; name some for all of them with --data"
        )


def examples_sha256(data: Dataset) -> str:
    """Of the examples, however they are normalised."""
    # The digest is of normalised values, and each model has its own normalisation.
    return replace(data, mean=(0.0,), std=(1.0,)).sha256


def _residual_or_plain(loaded: Loaded, how: Reading) -> Subject:
    from resanalysis.view import UnravelError

    if not how.plain:
        return unraveled(loaded, how)
    try:
        # Residual first: a residual network can be read as a chain of layers too, those that all of its paths
        # pass.
        return unraveled(loaded, replace(how, plain=False))
    except UnravelError:
        return unraveled(loaded, how)


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
