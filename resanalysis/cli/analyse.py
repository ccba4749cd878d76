"""What every command of an experiment does once its own options are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings

from resanalysis.cli.console import show, tell
from resanalysis.cli.options import Comparing, Drawing, Output, Source
from resanalysis.cli.subject import running, subject_of, subjects_of
from resanalysis.experiments import experiment_named

if TYPE_CHECKING:
    import pandas as pd

    from resanalysis.run.several import Several
    from resanalysis.run.subject import Subject


def analyse(
    plans: Mapping[str, Mapping[str, Any]],
    models: list[str],
    data: str | None,
    source: Source,
    drawing: Drawing,
    output: Output,
    *,
    comparing: Comparing | None = None,
    metric: str | None = None,
) -> None:
    """Run experiments on what the command line names, write their files, and say what they found.

    Parameters
    ----------
    plans : the options of each experiment by its stem, as its function takes them.
    comparing : what several models are to each other; ``None`` where the command takes one.
    metric : a user's score, ``module:function``.
    """
    pool = comparing is not None and comparing.pool
    subject: Subject | Several
    if len(models) > 1 or pool:
        subject = subjects_of(models, data, source, output)
    else:
        subject = subject_of(models[0], data, source, output)
    tables: dict[str, pd.DataFrame] = {}
    files: list[Path] = []
    for stem, options in plans.items():
        recorded = {**options, "pool": True} if pool else options
        with catch_warnings(record=True) as caught:
            tables[stem], written = _analysed(
                stem, subject, recorded, metric, drawing, output, running(subject, source, output)
            )
        files += written
        for warning in caught:
            if issubclass(warning.category, UserWarning):
                tell(output, f"note: {warning.message}")
    show(output, tables, f"{', '.join(plans)} of {', '.join(models)}", files)


def _analysed(
    stem: str,
    subject: Subject | Several,
    options: Mapping[str, Any],
    metric: str | None,
    drawing: Drawing,
    output: Output,
    running: Mapping[str, Any],
) -> tuple[pd.DataFrame, list[Path]]:
    """One experiment in its run folder: its table, and the files it wrote."""
    from resanalysis.run.compared import compared
    from resanalysis.run.folder import Run
    from resanalysis.run.measured import Analysis, measured
    from resanalysis.run.several import Several

    recorded, functions, code = dict(options), {}, {}
    if metric is not None:
        from resanalysis.checkpoint.user_function import source_sha256, user_function

        functions["metric"] = user_function(metric, "--metric")
        code[metric] = source_sha256(functions["metric"])
        recorded["metric"] = metric
    how: dict[str, Any] = {"functions": functions, "figure": drawing.arguments(), **running}
    experiment = experiment_named(stem)
    with Run(output.out, stem, fresh=output.fresh) as run:
        analysis = Analysis(run, subject, recorded, output.seed, code)
        if isinstance(subject, Several):
            tables = compared(analysis, experiment, subject, **how)
        else:
            tables = measured(analysis, experiment, **how)
    return tables[stem], run.files
