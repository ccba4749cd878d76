"""One experiment on one subject: measured, drawn, written, recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol
from warnings import warn

from resanalysis.errors import printable
from resanalysis.experiments import Experiment
from resanalysis.run.cautions import cautions
from resanalysis.run.folder import Run
from resanalysis.run.manifest import versions
from resanalysis.run.store import PartialStore

if TYPE_CHECKING:  # paths --depth needs no torch, and must not wait for it
    import pandas as pd
    from matplotlib.figure import Figure

    from resanalysis.datasets import Dataset


Figures = Callable[[str, "Callable[..., Figure]"], "dict[str, Figure]"]


def as_drawn(stem: str, draw: Callable[..., Figure]) -> dict[str, Figure]:
    """One figure of the usual width under its stem."""
    return {stem: draw()}


class Measured(Protocol):
    """What the manifest records of the thing measured: a ``Subject``, or several models."""

    @property
    def model(self) -> str: ...
    @property
    def source(self) -> str | None: ...
    @property
    def data_from(self) -> str | None: ...
    @property
    def data(self) -> Dataset | None: ...
    @property
    def model_sha256(self) -> str | None: ...
    @property
    def data_sha256(self) -> str | None: ...
    @property
    def device(self) -> str: ...
    @property
    def seconds(self) -> Mapping[str, float]: ...
    def view(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Analysis:
    """What decides one command's numbers, and the open folder they go to.

    Attributes
    ----------
    run : the open run folder; its command is the stem of the files.
    subject : ``None`` where the question is of no network.
    options : what decides the numbers beside model, data and seed.
    code : sha256 by name of the sources of user functions that decide them too.
    """

    run: Run
    subject: Measured | None
    options: Mapping[str, Any]
    seed: int | None = None
    code: Mapping[str, str] = field(default_factory=dict[str, str])
    started: float = field(default_factory=time.perf_counter)

    def store(self) -> PartialStore:
        """Where finished blocks of exactly this computation are."""
        # Batch size and progress are left out, which change no number: a run may go on with others. Versions
        # that can change one are in it.
        known = ("resanalysis", "torch")
        fingerprint: dict[str, Any] = {
            "command": self.run.command,
            "options": self.options,
            "seed": self.seed,
            "code": self.code,
            "versions": {name: text for name, text in versions().items() if name in known},
        }
        if self.subject is not None:
            fingerprint |= {
                "model": self.subject.model_sha256 or self.subject.model,
                "data": self.subject.data_sha256,
                "view": self.subject.view(),
                "device": self.subject.device,
            }
        return self.run.store(fingerprint)

    def record(
        self, tables: Mapping[str, pd.DataFrame], figures: Mapping[str, Figure], measured: float
    ) -> None:
        """Write tables and figures together, and what made them into the manifest.

        Parameters
        ----------
        tables : by stem; what the first one's ``attrs`` state is recorded with it.
        figures : by the stem of their files.
        measured : when measuring ended, of ``time.perf_counter``.
        """
        for stem, table in tables.items():
            self.run.keep_table(stem, table)
        for stem, figure in figures.items():
            self.run.keep_figure(stem, figure)
        subject = self.subject
        timings = {
            **({} if subject is None else subject.seconds),
            "measure": measured - self.started,
            "write": time.perf_counter() - measured,
        }
        of_subject: dict[str, Any] = {}
        named: dict[str, Any] = {}
        facts: dict[str, Any] = {}
        if subject is not None:
            named = {"model": subject.model, "data": subject.source, "device": subject.device}
            if subject.data_from is not None:
                facts["data_from"] = subject.data_from
            facts |= pixels_of(subject)
            of_subject = {
                "model_sha256": subject.model_sha256,
                "data_sha256": subject.data_sha256,
                "n": None if subject.data is None else len(subject.data),
                "view": subject.view(),
            }
        main = next(iter(tables.values()))
        notes = [] if subject is None else cautions(subject, main)
        for note in notes:
            warn(printable(note), stacklevel=2)
        if notes:
            facts["notes"] = notes
        self.run.finish(
            options={**named, **self.options},
            seed=self.seed,
            timings=timings,
            facts={**{str(key): fact for key, fact in main.attrs.items()}, **facts},
            **of_subject,
        )


def pixels_of(subject: Measured) -> dict[str, Any]:
    """How files of images were read: of each model by its label, where there are several."""
    parts: dict[str, Any] = getattr(subject, "parts", None) or {"": subject}
    each = {label: part.data.pixels for label, part in parts.items() if part.data is not None}
    found = {label: pixels.facts() for label, pixels in each.items() if pixels is not None}
    if not found:
        return {}
    return {"pixels": found if len(parts) > 1 else next(iter(found.values()))}


def measured(
    analysis: Analysis,
    experiment: Experiment,
    *,
    functions: Mapping[str, Any] | None = None,
    figures: Figures | None = None,
    **running: Any,
) -> dict[str, pd.DataFrame]:
    """Measure, draw, write, record.

    Parameters
    ----------
    functions : arguments that have no text of their own (a user's metric, a table known already).
    figures : from a stem and its drawing to the figures to write; the drawing as it is where left out.
    running : batch size, device and progress, which change no result.

    Returns
    -------
    dict : the tables by stem, the experiment's own first.
    """
    # What is recorded are `analysis.options`: a function has no text, and its source is in `code`.
    options = {**analysis.options, **(functions or {})}
    if experiment.takes in ("data", "modules"):
        options |= {"seed": analysis.seed, "store": analysis.store(), **running}
    tables = experiment.measure(analysis.subject, **options)
    done = time.perf_counter()
    drawn = (figures or as_drawn)(experiment.stem, partial(experiment.draw, tables))
    for stem in experiment.drawn_beside:
        if stem in tables:
            draw = getattr(import_module(f"resanalysis.figures.tables.{stem}"), stem)
            drawn |= (figures or as_drawn)(stem, partial(draw, tables[stem]))
    analysis.record(tables, drawn, done)
    return tables
