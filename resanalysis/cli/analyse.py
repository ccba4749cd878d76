"""What every command of an experiment does once its own options are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from resanalysis.cli.console import show, tell
from resanalysis.cli.options import Comparing, Drawing, Output, Source
from resanalysis.cli.subject import reading, running, subject_of, subjects_of
from resanalysis.experiments import experiment_named

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

    def with_images(self, wanted: bool) -> Plan:
        """The same, with what each route answers on each example, if that is wanted."""
        return replace(self, options={**self.options, "per_image": True}) if wanted else self

    def calibrated_on(self, data: str | None) -> Plan:
        """The same, with examples for statistics and means from other data, if any are named."""
        return replace(self, options={**self.options, "calibrate_on": data}) if data else self

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
        if "calibrate_on" in plan.options:
            plan = _with_calibration(plan, subject, source, output)
        tables[plan.stem], written = analysed(plan, subject, source, drawing, output, pool=pool)
        files += written
    show(output, tables, f"{', '.join(tables)} of {', '.join(models)}", files)


def _with_calibration(
    plan: Plan, subject: Subject | Several, source: Source, output: Output
) -> Plan:
    """The plan with the examples that ``--calibrate-on`` names, read as the model's own are."""
    from resanalysis.checkpoint import check_fit
    from resanalysis.run.model_data import data_for
    from resanalysis.run.subject import Subject

    if not isinstance(subject, Subject):
        raise typer.BadParameter("--calibrate-on is for one model: give one, or leave it out")
    info = getattr(subject.module, "resanalysis", None)
    how = replace(reading(source, output), limit=None)
    data = data_for(info, plan.options["calibrate_on"], how, split="train")
    check_fit(subject.module, data.batch(0, 2)[0], info, subject.model, data.name)
    functions = {**plan.functions, "calibrate_on": data}
    return replace(plan, functions=functions, code={**plan.code, "calibrate_on": data.sha256})


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

    say_cost(plan.stem, plan.options, subject, output)
    options = {**plan.options, "pool": True} if pool else plan.options
    how: dict[str, Any] = {"functions": plan.functions, "figures": drawing.figures}
    how |= running(subject, source, output)
    experiment = experiment_named(plan.stem)
    with Run(output.out, plan.stem, fresh=output.fresh) as run:
        analysis = Analysis(run, subject, options, output.seed, plan.code)
        if isinstance(subject, Several):
            tables = compared(analysis, experiment, subject, **how)
        else:
            tables = measured(analysis, experiment, **how)
    return tables[plan.stem], run.files


def say_cost(
    stem: str, options: Mapping[str, Any], subject: Subject | Several, output: Output
) -> None:
    """Say what a long experiment will cost, before it starts."""
    from resanalysis.run.cost import cost_of, seconds_per_pass
    from resanalysis.run.several import Several
    from resanalysis.run.subject import Subject

    experiment = experiment_named(stem)
    if output.quiet or experiment.takes != "data":
        return
    parts = subject.parts if isinstance(subject, Several) else {"": subject}
    for label, part in parts.items():
        if isinstance(part, Subject):
            cost = cost_of(experiment, part, options, seconds_per_pass(part))
            if cost.long:
                tell(output, f"{f'{label}: ' if label else ''}{stem}: {cost}")
