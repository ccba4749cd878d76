"""What a run folder holds of each experiment: its tables, and what made them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from resanalysis.experiments import EXPERIMENTS, Experiment
from resanalysis.run.manifest import read_manifest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from resanalysis.figures.words import Finding, Headlines


@dataclass(frozen=True, eq=False)
class Result:
    """One finished experiment of a run folder.

    Attributes
    ----------
    experiment : what was asked.
    entry : its entry in ``manifest.json``.
    tables : by stem, its own first, as the files hold them.
    """

    experiment: Experiment
    entry: Mapping[str, Any]
    tables: Mapping[str, pd.DataFrame]

    @property
    def stem(self) -> str:
        """Of the experiment."""
        return self.experiment.stem

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the table's ``attrs`` stated."""
        return self.entry.get("facts") or {}

    @property
    def table(self) -> pd.DataFrame:
        """The experiment's own table."""
        return self.tables[self.stem]

    def headlines(self) -> Headlines:
        """The few numbers that say what the table found."""
        return self.experiment.words.headlines(self.table)

    def findings(self) -> list[Finding]:
        """What the table says in plain sentences; none where its figure's module has no words for it."""
        found = getattr(self.experiment.words, "findings", None)
        return [] if found is None else found(self.table)

    def draw(self, width: float) -> Figure:
        """The experiment's figure, drawn from the files."""
        return self.experiment.draw(self.tables, width=width)


def results(out: Path) -> list[Result]:
    """The finished experiments of a run folder, in the order of ``EXPERIMENTS``.

    Raises
    ------
    ResultsError : if the folder's manifest is damaged.
    """
    manifest = read_manifest(out)
    found: list[Result] = []
    for experiment in EXPERIMENTS:
        entry = manifest.get(experiment.stem)
        if entry is not None and (out / f"{experiment.stem}.csv").is_file():
            found.append(Result(experiment, entry, _tables(out, experiment.stem, entry)))
    return found


def _tables(out: Path, stem: str, entry: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """The tables that an entry lists and that are there; the experiment's own has its facts."""
    listed = [Path(str(name)) for name in entry.get("files") or []]
    others = [
        path.stem
        for path in listed
        if path.suffix == ".csv" and path.stem != stem and (out / path.name).is_file()
    ]
    # Only an empty cell is missing: a unit may well be called "null".
    read = partial(pd.read_csv, keep_default_na=False, na_values=[""])
    tables = {name: read(out / f"{name}.csv") for name in (stem, *others)}
    tables[stem].attrs.update(entry.get("facts") or {})
    return tables
