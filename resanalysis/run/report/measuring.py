"""Every experiment that applies, one after the other, each into its files in one folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import warn

from resanalysis.errors import ResanalysisError, ResultsError
from resanalysis.experiments import EXPERIMENTS, Experiment
from resanalysis.run.folder import Run
from resanalysis.run.measured import Analysis, measured
from resanalysis.run.subject import Subject

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Planned:
    """One experiment as a report runs it.

    Attributes
    ----------
    experiment : what is asked.
    options : of a report, with what the user wants otherwise.
    """

    experiment: Experiment
    options: Mapping[str, Any]


@dataclass(eq=False)
class Progress:
    """How far a report is: what is known, what is still to come, and what cannot be done.

    Attributes
    ----------
    tables : of each finished experiment by its stem, with the order of the page.
    to_come : in the order in which they run.
    left_out : experiments by stem, and why.
    """

    tables: dict[str, pd.DataFrame] = field(default_factory=dict[str, "pd.DataFrame"])
    to_come: list[Planned] = field(default_factory=list[Planned])
    left_out: dict[str, str] = field(default_factory=dict[str, str])


def planned(
    subject: Subject, options: Mapping[str, Mapping[str, Any]]
) -> tuple[list[Planned], dict[str, str]]:
    """The experiments that apply to a subject, and why the others do not.

    Parameters
    ----------
    options : by stem, what the user wants otherwise than a report has it.
    """
    plans: list[Planned] = []
    left_out: dict[str, str] = {}
    for experiment in EXPERIMENTS:
        chosen = experiment.in_report(subject)
        if chosen is None:
            left_out[experiment.stem] = (
                f"does not apply to this model and data, it needs {experiment.needs}: {experiment.question}"
            )
        else:
            plans.append(Planned(experiment, {**chosen, **options.get(experiment.stem, {})}))
    return plans, left_out


def measure_all(
    subject: Subject,
    out: Path,
    plans: Sequence[Planned],
    *,
    seed: int = 0,
    fresh: bool = False,
    before: Callable[[Planned], object] | None = None,
    after: Callable[[Progress], object] | None = None,
    **running: Any,
) -> Progress:
    """Run experiments, each into its files in one folder.

    Parameters
    ----------
    plans : what is run, in this order.
    before : called before each experiment.
    after : called when all are planned, and after each experiment.
    running : ``batch_size``, ``device`` and ``show_progress``, which change no result.

    Warns
    -----
    UserWarning : naming an experiment that this network and data do not allow, and why.

    Raises
    ------
    ResanalysisError : if not one of them could be run.
    """
    progress = Progress(to_come=list(plans))
    if after is not None:
        after(progress)
    for plan in plans:
        if before is not None:
            before(plan)
        found = _run(plan, subject, out, seed, fresh, running)
        progress.to_come.remove(plan)
        if isinstance(found, str):
            progress.left_out[plan.experiment.stem] = found
        else:
            progress.tables[plan.experiment.stem] = found
        if after is not None:
            after(progress)
    if not progress.tables:
        raise ResanalysisError(f"no experiment could be run on {subject.model}")
    return progress


def _run(
    plan: Planned,
    subject: Subject,
    out: Path,
    seed: int,
    fresh: bool,
    running: Mapping[str, Any],
) -> pd.DataFrame | str:
    """One experiment's table, or why it cannot be done here."""
    experiment = plan.experiment
    with Run(out, experiment.stem, fresh=fresh) as run:
        analysis = Analysis(run, subject, plan.options, seed)
        try:
            found = measured(analysis, experiment, **running)
        # A full disk stops every experiment that follows too.
        except ResultsError:
            raise
        except ResanalysisError as error:
            # A network at chance cannot lose what rearrange counts; the page does not hang on that.
            warn(f"{experiment.stem} is left out: {error}", stacklevel=3)
            return str(error)
    return found[experiment.stem]
