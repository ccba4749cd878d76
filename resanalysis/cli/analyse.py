"""What every command of an experiment does once its own options are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resanalysis.cli.console import show, tell
from resanalysis.cli.options import Comparing, Drawing, Output, Source
from resanalysis.cli.subject import running, subject_of, subjects_of
from resanalysis.experiments import Experiment, experiment_named
from resanalysis.experiments.cost import said

if TYPE_CHECKING:
    import pandas as pd

    from resanalysis.run.several import Several
    from resanalysis.run.subject import Subject


@dataclass(frozen=True)
class Plan:
    """One experiment as a command wants it.

    Attributes
    ----------
    stem : of the experiment.
    options : as its function takes them; the manifest records them.
    functions : arguments that have no text (a user's metric, a second network).
    code : sha256 by name of the user's files that decide the numbers too.
    """

    stem: str
    options: Mapping[str, Any]
    functions: Mapping[str, Any] = field(default_factory=dict[str, Any])
    code: Mapping[str, str] = field(default_factory=dict[str, str])

    def measuring(self, metric: str | None) -> Plan:
        """The same, scored by a user's own function ``module:function`` where there is one."""
        if metric is None:
            return self
        from resanalysis.checkpoint.user_function import source_sha256, user_function

        function = user_function(metric, "--metric")
        return Plan(
            self.stem,
            {**self.options, "metric": metric},
            {**self.functions, "metric": function},
            {**self.code, metric: source_sha256(function)},
        )


def analyse(
    plans: list[Plan],
    models: list[str],
    data: str | None,
    source: Source,
    drawing: Drawing,
    output: Output,
    comparing: Comparing | None = None,
) -> None:
    """Run experiments on what the command line names, write their files, and say what they found.

    Parameters
    ----------
    comparing : what several models are to each other; ``None`` where the command takes one.
    """
    pool = comparing is not None and comparing.pool
    subject: Subject | Several
    if len(models) > 1 or pool:
        subject = subjects_of(models, data, source, output)
    else:
        subject = subject_of(models[0], data, source, output)
    tables: dict[str, pd.DataFrame] = {}
    files: list[Path] = []
    for plan in plans:
        tables[plan.stem], written = analysed(plan, subject, source, drawing, output, pool=pool)
        files += written
    show(output, tables, f"{', '.join(tables)} of {', '.join(models)}", files)


def analysed(
    plan: Plan,
    subject: Subject | Several,
    source: Source,
    drawing: Drawing,
    output: Output,
    *,
    pool: bool = False,
) -> tuple[pd.DataFrame, list[Path]]:
    """One experiment in its run folder: its table, and the files it wrote."""
    from resanalysis.run.compared import compared
    from resanalysis.run.folder import Run
    from resanalysis.run.measured import Analysis, measured
    from resanalysis.run.several import Several

    options = {**plan.options, "pool": True} if pool else plan.options
    how: dict[str, Any] = {"functions": plan.functions, "figures": drawing.figures}
    how |= running(subject, source, output)
    experiment = experiment_named(plan.stem)
    say_cost(experiment, subject, plan.options, output)
    with Run(output.out, plan.stem, fresh=output.fresh) as run:
        analysis = Analysis(run, subject, options, output.seed, plan.code)
        if isinstance(subject, Several):
            tables = compared(analysis, experiment, subject, **how)
        else:
            tables = measured(analysis, experiment, **how)
    return tables[plan.stem], run.files


def say_cost(
    experiment: Experiment,
    subject: Subject | Several,
    options: Mapping[str, Any],
    output: Output,
) -> None:
    """How much work lies ahead, of each model, where an experiment can tell."""
    parts: Mapping[str, Any] = getattr(subject, "parts", {"": subject})
    for label, part in parts.items():
        units = sum(unit.deletable for unit in part.network.units)
        if experiment.cost is not None and units and part.data is not None:
            text = said(experiment.cost, units, len(part.data), options)
            tell(output, f"{experiment.stem}{f' of {label}' if label else ''}: {text}")
