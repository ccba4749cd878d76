"""All tables and figures of a run folder on one self-contained page."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from warnings import warn

import pandas as pd

from resanalysis.errors import ResanalysisError
from resanalysis.experiments import EXPERIMENTS, Experiment
from resanalysis.run.atomic import ResultsError, write_atomically
from resanalysis.run.folder import Run
from resanalysis.run.manifest import read_manifest
from resanalysis.run.measured import Analysis, measured
from resanalysis.run.subject import Subject

TRANSITIONS = {
    "lesion": "transitions are deleted too, and marked",
    "eligible": "transitions may be deleted",
    "excluded": "transitions are never deleted",
    "both": "both protocols: transitions may be deleted, and transitions stay",
    "reorder": "transitions stay in place",
}
"""What a caption says of units that change the stream's shape, by protocol or by stem."""

STAND_INS = {
    "mean": "the mean of each channel of a branch stands in for it",
    "element-mean": "the mean of each element of a branch's output stands in for it",
    "resample": "a branch's output on another example stands in for it",
}
"""What a caption says of deleted branches, where something takes their place."""


def measure_all(
    subject: Subject,
    out: Path,
    *,
    options: Mapping[str, Mapping[str, Any]],
    seed: int = 0,
    fresh: bool = False,
    **running: Any,
) -> dict[str, pd.DataFrame]:
    """Run every experiment that applies to a subject, each into its files in one folder.

    Parameters
    ----------
    options : by stem, what the user wants otherwise than a report has it.
    running : ``batch_size``, ``device`` and ``show_progress``, which change no result.

    Returns
    -------
    dict : the table of each experiment by its stem, in the order of the page.

    Warns
    -----
    UserWarning : naming an experiment that this network and data do not allow, and why.
    """
    tables: dict[str, pd.DataFrame] = {}
    for experiment in EXPERIMENTS:
        chosen = experiment.in_report(subject)
        if chosen is None:
            continue
        chosen = {**chosen, **options.get(experiment.stem, {})}
        known = {name: tables[stem] for name, stem in experiment.reuses if stem in tables}
        with Run(out, experiment.stem, fresh=fresh) as run:
            analysis = Analysis(run, subject, chosen, seed)
            try:
                found = measured(analysis, experiment, functions=known, **running)
            except ResultsError:
                raise
            except ResanalysisError as error:
                # A network at chance cannot lose what rearrange counts; the page does not hang on that.
                warn(f"{experiment.stem} is left out: {error}", stacklevel=2)
                continue
        tables[experiment.stem] = found[experiment.stem]
    if not tables:
        raise ResanalysisError(f"no experiment could be run on {subject.model}")
    return tables


def write_page(out: Path, title: str) -> Path:
    """Write ``report.html`` from the tables, figures and manifest entries in a run folder.

    Returns
    -------
    Path : the page; figures are inlined, so that it can be sent alone.

    Raises
    ------
    ResultsError : if the folder holds no finished experiment.
    """
    manifest = read_manifest(out)
    there = [
        experiment
        for experiment in EXPERIMENTS
        if experiment.stem in manifest and (out / f"{experiment.stem}.csv").exists()
    ]
    sections = [_section(out, experiment, manifest[experiment.stem]) for experiment in there]
    if not sections:
        raise ResultsError(f"{out} holds no finished experiment; run resanalysis lesion first")
    entries = [manifest[experiment.stem] for experiment in there]
    first = next((entry for entry in entries if entry.get("data_sha256")), entries[0])
    text = PAGE.substitute(
        title=escape(title), facts=escape(_versions(first)), sections="\n".join(sections)
    )
    path = out / "report.html"
    write_atomically(path, text.encode())
    return path


def _section(out: Path, experiment: Experiment, entry: Mapping[str, Any]) -> str:
    stem, words = experiment.stem, experiment.words
    frame = pd.read_csv(out / f"{stem}.csv", keep_default_na=True)
    frame.attrs.update(entry.get("facts") or {})
    rows = "\n".join(
        f"<tr><th>{escape(label)}</th><td>{escape(value)}</td></tr>"
        for label, value in words.headlines(frame)
    )
    return SECTION.substitute(
        stem=stem,
        title=escape(words.TITLE),
        reading=escape(words.HOW_TO_READ),
        caption=escape(caption(stem, entry)),
        rows=rows,
        image=base64.b64encode((out / f"{stem}.png").read_bytes()).decode(),
    )


def caption(stem: str, entry: Mapping[str, Any]) -> str:
    """What a figure's caption has to state: N, data, batch norm, transitions, draws, seed.

    Parameters
    ----------
    entry : the command's entry in ``manifest.json``.
    """
    if stem in ("paths", "inspect"):
        units = (entry.get("view") or {}).get("units") or (entry.get("options") or {}).get("units")
        return f"{units} units; nothing here is random." if units else "Nothing here is random."
    options: Mapping[str, Any] = entry.get("options") or {}
    facts: Mapping[str, Any] = entry.get("facts") or {}
    parts = [
        f"N = {facts.get('n', entry.get('n'))} examples of {options.get('data')}",
        str(facts.get("subset") or ""),
        "batch norm with its stored statistics (eval mode), weights untouched",
        _again(facts),
        STAND_INS.get(str(facts.get("replace")), ""),
        TRANSITIONS.get(str(facts.get("transitions", stem)), ""),
        "the skip is cut here and the branch kept" if options.get("part") == "skip" else "",
    ]
    if "kinds" in options:
        parts.append(f"layers of the kind {options['kinds']}")
    if "draws" in options:
        parts.append(
            f"{options['draws']} random {'draws per k' if 'removed' in options else 'orders'}"
        )
    parts.append(f"seed {entry.get('seed')}")
    return "; ".join(part for part in parts if part) + "."


def _again(facts: Mapping[str, Any]) -> str:
    n = facts.get("recalibrate")
    return (
        f"and once more with statistics estimated on {n} examples that are not measured"
        if n
        else ""
    )


def _versions(entry: Mapping[str, Any]) -> str:
    versions: Mapping[str, str] = entry.get("versions") or {}
    hashes = [
        f"{what} sha256 {str(entry[key])[:16]}…"
        for what, key in (("model", "model_sha256"), ("data", "data_sha256"))
        if entry.get(key)
    ]
    return "; ".join([*hashes, *(f"{name} {version}" for name, version in versions.items())])


SECTION = Template(
    """<section id="$stem">
<h2>$title</h2>
<figure><img alt="$title" src="data:image/png;base64,$image">
<figcaption>$reading $caption</figcaption></figure>
<table>
$rows
</table>
<p class="files">Table: $stem.csv. Figure: $stem.pdf, $stem.png.</p>
</section>"""
)

PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title: residual analysis</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 46rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
figure { margin: 0; } img { max-width: 100%; height: auto; }
figcaption { color: #555; font-size: .9rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: normal; color: #555; padding: .15rem 1.5rem .15rem 0;
  vertical-align: top; }
td { padding: .15rem 0; }
.files, footer { color: #777; font-size: .8rem; overflow-wrap: anywhere; }
</style>
</head>
<body>
<h1>$title</h1>
$sections
<footer>$facts</footer>
</body>
</html>
"""
)
