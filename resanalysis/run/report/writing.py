"""A whole report: models measured one after the other, the page written again after each experiment."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resanalysis.errors import ResanalysisError
from resanalysis.ranks import of_the_first, ranks
from resanalysis.run.cost import Cost, cost_of, seconds_per_pass
from resanalysis.run.folder import Run
from resanalysis.run.manifest import merge_manifest, versions
from resanalysis.run.report.measuring import Planned, Progress, measure_all, planned
from resanalysis.run.report.page import Page, Status
from resanalysis.run.report.pairs import on_page, one_file, pairs_of, same_in_words
from resanalysis.run.report.paper import write_paper
from resanalysis.run.report.protocol import Asked
from resanalysis.run.report.section import Of
from resanalysis.run.subject import Subject

if TYPE_CHECKING:
    import pandas as pd

QUICK: Mapping[str, Mapping[str, Any]] = {
    "lesion_many": {"draws": 5},
    "reorder": {"draws": 60},
    "rearrange": {"draws": 3},
    "gradients": {"method": ("exact", "rms"), "repetitions": 5, "images": 16},
    "unit_share": {"images": 16},
    "prune": {"draws": 3, "timing": 2.0},
    "shapley": {"orders": 4},
}
"""Options of ``--quick``: fewer draws and images, and wider intervals."""
QUICK_EXAMPLES = 200


@dataclass(frozen=True)
class Wanted:
    """What a report is to hold, and how it runs.

    Attributes
    ----------
    out : the folder.
    options : by stem, what the user wants otherwise than a report has it.
    quick : cheap experiments first, with the options of ``QUICK``.
    seed, fresh : as for every experiment.
    command : the command line of the whole report.
    running : ``batch_size``, ``device`` and ``show_progress``.
    tell : takes sentences on what is going on.
    """

    out: Path
    options: Mapping[str, Mapping[str, Any]]
    quick: bool = False
    seed: int = 0
    fresh: bool = False
    command: str = "resanalysis report"
    running: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tell: Callable[[str], object] = lambda _: None


@dataclass(frozen=True, eq=False)
class _Model:
    """One model of a report: where it goes, what is run, what it costs."""

    of: Of
    subject: Subject
    plans: Sequence[Planned]
    costs: Mapping[str, Cost]
    left_out: Mapping[str, str]

    def named(self, stem: str) -> str:
        """An experiment of this model, where there are others."""
        return f"{self.of.label}: {stem}" if self.of.label else stem

    def pending(self, plans: Sequence[Planned]) -> list[tuple[str, str]]:
        """What is to come, and what it costs."""
        stems = [plan.experiment.stem for plan in plans]
        return [(self.named(stem), str(self.costs[stem])) for stem in stems]

    def dropped(self, progress: Progress) -> list[tuple[str, str]]:
        """What is not on the page, and why."""
        left_out = {**self.left_out, **progress.left_out}
        return [(self.named(stem), why) for stem, why in left_out.items()]


def write_report(
    subjects: Mapping[str, Subject], asked: Mapping[str, Asked], wanted: Wanted
) -> tuple[dict[str, pd.DataFrame], list[Path]]:
    """Measure models, and write the page and ``paper/``.

    Parameters
    ----------
    subjects : by label. One alone is measured into the folder itself, several each into a folder of theirs.
    asked : by label, what its commands say.

    Returns
    -------
    tables : by stem, of several models by ``LABEL: STEM``.
    files : the page, and the files of ``paper/``.

    Raises
    ------
    ResanalysisError : if no experiment could be run, or two labels make one folder.
    """
    same = one_file(subjects)
    own = {label: subject for label, subject in subjects.items() if label not in same}
    folders = folders_of(list(own), asked, wanted.out)
    models = [_model(of, one, wanted) for of, one in zip(folders, own.values(), strict=True)]
    pairs = _pairs(own, wanted) if len(own) > 1 else None
    status = Status(
        notes=[*same_in_words(same, subjects), *_unpaired(own, pairs)],
        command=wanted.command,
        pairs=None if pairs is None else on_page(pairs),
    )
    page = Page(wanted.out / "report.html", _title(own), folders)
    tables: dict[str, pd.DataFrame] = {} if pairs is None else {"pairs": pairs}
    for number, model in enumerate(models):
        later = [line for other in models[number + 1 :] for line in other.pending(other.plans)]
        progress = measure_all(
            model.subject,
            model.of.out,
            model.plans,
            seed=wanted.seed,
            fresh=wanted.fresh,
            before=partial(_announce, model, wanted),
            after=partial(_show, page, status, model, later),
            **wanted.running,
        )
        status = replace(status, left_out=[*status.left_out, *model.dropped(progress)])
        tables |= {model.named(stem): table for stem, table in progress.tables.items()}
    if not ranks().first:
        return tables, [page.path]
    files = [page.write(status), *write_paper(wanted.out, folders)]
    _record(wanted, files)
    return tables, files


def _announce(model: _Model, wanted: Wanted, plan: Planned) -> None:
    """Say what a long experiment will cost, before it starts."""
    cost = model.costs[plan.experiment.stem]
    if cost.long:
        wanted.tell(f"{model.named(plan.experiment.stem)}: {cost}")


def _show(
    page: Page, status: Status, model: _Model, later: Sequence[tuple[str, str]], progress: Progress
) -> None:
    """Write the page with what is known by now; of several processes the first one does."""
    if not ranks().first:
        return
    page.write(
        replace(
            status,
            pending=[*model.pending(progress.to_come), *later],
            left_out=[*status.left_out, *model.dropped(progress)],
        )
    )


def _model(of: Of, subject: Subject, wanted: Wanted) -> _Model:
    """What is run on a model: in the order of the page, or with ``quick`` what is cheap first."""
    options = {stem: dict(some) for stem, some in (QUICK if wanted.quick else {}).items()}
    for stem, some in wanted.options.items():
        options[stem] = {**options.get(stem, {}), **some}
    plans, left_out = planned(subject, options)
    per_pass = of_the_first(seconds_per_pass(subject))  # the order must be that of all processes
    costs = {
        plan.experiment.stem: cost_of(plan.experiment, subject, plan.options, per_pass)
        for plan in plans
    }
    if wanted.quick:
        plans.sort(key=lambda plan: costs[plan.experiment.stem].seconds)
    return _Model(of, subject, plans, costs, left_out)


def folders_of(labels: Sequence[str], asked: Mapping[str, Asked], out: Path) -> list[Of]:
    """Where each model goes: names of folders that no label can lead out of the report's."""
    if len(labels) == 1:
        return [Of("", out, replace(asked[labels[0]], out=str(out)))]
    names = {label: re.sub(r"[^\w.+-]", "_", label).lstrip(".") or "_" for label in labels}
    taken: dict[str, str] = {"paper": "the files for a paper"}
    for label, name in names.items():
        if name in taken:
            raise ResanalysisError(
                f"{label!r} and {taken[name]} would go to the same folder {name}; name it otherwise, as "
                "LABEL=MODEL"
            )
        taken[name] = repr(label)
    return [
        Of(label, out / name, replace(asked[label], out=str(out / name)), f"{name}/")
        for label, name in names.items()
    ]


def _title(subjects: Mapping[str, Subject]) -> str:
    """The model as it was named; of several their labels."""
    if len(subjects) == 1:
        return next(iter(subjects.values())).model
    *most, last = subjects
    return f"{', '.join(most)} and {last}"


def _pairs(subjects: Mapping[str, Subject], wanted: Wanted) -> pd.DataFrame | None:
    """Models against each other, written to ``pairs.csv`` where some share their examples."""
    table = pairs_of(subjects, **wanted.running)
    if table is not None:
        with Run(wanted.out, "pairs", fresh=wanted.fresh) as run:
            run.keep_table("pairs", table)
            models = {label: subject.model for label, subject in subjects.items()}
            run.finish(options={"models": models}, seed=None)
    return table


def _unpaired(subjects: Mapping[str, Subject], pairs: pd.DataFrame | None) -> list[str]:
    """A sentence where models were measured on different examples, or on such without labels."""
    found = set() if pairs is None else {*pairs["model_a"], *pairs["model_b"]}
    alone = [label for label in subjects if label not in found]
    if len(subjects) < 2 or not alone:
        return []
    return [
        f"{', '.join(alone)}: no other model was measured on the same labelled examples, so nothing is paired; "
        "--data names some for all."
    ]


def _record(wanted: Wanted, files: Sequence[Path]) -> None:
    """The page and the paper's files in the manifest, so that ``check`` looks at them too."""
    names = [path.relative_to(wanted.out).as_posix() for path in files]
    digests = {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in zip(names, files, strict=True)
    }
    entry = {
        "command": wanted.command,
        "seed": wanted.seed,
        "files": names,
        "sha256": digests,
        "versions": versions(),
    }
    merge_manifest(wanted.out, "report", entry)
