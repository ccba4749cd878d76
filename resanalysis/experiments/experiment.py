"""What an experiment is to the rest of the package: one name, what it takes, what reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal

from resanalysis.errors import ResanalysisError
from resanalysis.experiments.work import Work, Works, once

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Takes = Literal["data", "example", "view", "modules"]
"""The unraveled view with data, with one batch, or alone; or the modules themselves with data."""

Chooses = Callable[[Any], Mapping[str, Any] | None]


def _as_it_is(_: Any) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True)
class Experiment:
    """One question asked of a network.

    The stem rule finds its parts: ``experiments/STEM.py`` measures in a function of that name,
    ``figures/tables/STEM.py`` draws in one of that name and has its words (``TITLE``, ``HOW_TO_READ``,
    ``headlines``), ``cli/STEM.py`` is its command, ``docs/STEM.md`` its page. Nothing is imported before it
    is used.

    Attributes
    ----------
    stem : of its modules, functions and files.
    question : what it answers, for lists of commands.
    takes : what it is called with.
    command : the command that runs it, where that is another's.
    page : ``module:function`` that makes several tables by stem, the first its own, where one table is not all.
    drawn_with : the tables its figure takes beside its own, by the name of the argument.
    curve : the columns to lay models side by side by: what runs along the axis, and what is measured.
    per_image : whether it can keep what each route answers on each example.
    streams : whether it needs no more than one unit's weights in memory (``--stream-weights``).
    drawn_beside : tables beside its own that have a figure of their own, ``figures/tables/STEM.py``.
    in_report : from the subject to the options it has in a report, or ``None`` where it does not apply.
    needs : where it may not apply, what it needs.
    """

    stem: str
    question: str
    takes: Takes = "data"
    command: str = ""
    page: str = ""
    drawn_with: tuple[tuple[str, str], ...] = ()
    curve: tuple[str, str] | None = None
    per_image: bool = False
    streams: bool = False
    drawn_beside: tuple[str, ...] = ()
    in_report: Chooses = _as_it_is
    needs: str = ""
    work: Works = once
    flags: tuple[tuple[str, str], ...] = ()
    always: tuple[str, ...] = ()

    @property
    def home(self) -> str:
        """The module that holds its function."""
        return f"resanalysis.experiments.{self.stem}"

    @property
    def words(self) -> Any:
        """``figures/tables/STEM.py``: the drawing, and ``TITLE``, ``HOW_TO_READ`` and ``headlines``."""
        return import_module(f"resanalysis.figures.tables.{self.stem}")

    def work_of(self, units: int, options: Mapping[str, Any]) -> Work:
        """How much work it is with these options, and the function's own defaults of the others."""
        function = getattr(import_module(self.home), self.stem)
        known = signature(function).parameters.items()
        defaults = {name: one.default for name, one in known if one.default is not one.empty}
        return self.work(units, {**defaults, **options})

    def measure(self, subject: Any, **options: Any) -> dict[str, pd.DataFrame]:
        """Its tables by stem, its own first.

        Parameters
        ----------
        subject : a ``Subject``, or another with the attributes that ``takes`` names.
        options : the function's own, and how it runs; ``per_image=True`` for tables of every example beside.
        """
        self._check_in_memory(subject)
        if self.per_image and options.pop("per_image", False):
            return self._with_images(subject, options)
        module, _, name = (self.page or f"{self.home}:{self.stem}").partition(":")
        function = getattr(import_module(module), name)
        match self.takes:
            case "data":
                found = function(subject.network, subject.examples(), **options)
            case "example":
                found = function(subject.network, subject.example, **options)
            case "view":
                found = function(None if subject is None else subject.network, **options)
            case "modules":
                found = function(subject.modules, subject.each_examples, **options)
        return found if isinstance(found, dict) else {self.stem: found}

    def _check_in_memory(self, subject: Any) -> None:
        if self.streams or self.takes == "view":
            return
        for name, module in getattr(subject, "modules", {}).items():
            if getattr(getattr(module, "resanalysis", None), "files", None) is not None:
                raise ResanalysisError(
                    f"{self.stem} needs all weights of {name} in memory, and they are in their files: inspect, "
                    "lesion and reorder alone read them a unit at a time (--stream-weights)"
                )

    def _with_images(self, subject: Any, options: dict[str, Any]) -> dict[str, pd.DataFrame]:
        from resanalysis.experiments.per_image import tables_beside
        from resanalysis.routes.answers import Answers

        answers = Answers()
        tables = self.measure(subject, **options, answers=answers)
        return tables | tables_beside(self.stem, answers, tables[self.stem])

    def draw(self, tables: Mapping[str, pd.DataFrame], **how: Any) -> Figure:
        """Its figure.

        Parameters
        ----------
        how : ``width`` in inches, and ``panel`` for one panel alone.
        """
        # A table that was not measured is `None`, and its panel is left out.
        beside = {name: tables.get(stem) for name, stem in self.drawn_with}
        return getattr(self.words, self.stem)(tables[self.stem], **beside, **how)
