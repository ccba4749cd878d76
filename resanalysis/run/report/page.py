"""The page: what was analysed, what was found, a section for every experiment; it needs no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from resanalysis.errors import ResultsError
from resanalysis.experiments import EXPERIMENTS
from resanalysis.figures.words import Finding
from resanalysis.run.atomic import write_atomically
from resanalysis.run.report.results import Result
from resanalysis.run.report.section import Of, Picture, Section, View, section, view
from resanalysis.run.report.svg import dark_colours
from resanalysis.run.report.together import Pairs, together

_PACKAGE = "resanalysis.run.report"


@dataclass(frozen=True)
class Status:
    """What the page says beside its results.

    Attributes
    ----------
    pending : experiments that are still to come, with what they will cost in words.
    left_out : experiments that are not on the page, and why.
    notes : sentences for the top.
    command : the command line of the whole page.
    pairs : models against each other, where there are several.
    """

    pending: Sequence[tuple[str, str]] = ()
    left_out: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    command: str = "resanalysis report"
    pairs: Pairs | None = None


@dataclass(eq=False)
class Page:
    """A page that is written again as its folders fill; a section is drawn once.

    Attributes
    ----------
    path : of the page.
    title : at its top.
    folders : of the models.
    """

    path: Path
    title: str
    folders: Sequence[Of]
    _views: dict[tuple[str, str, str], View] = field(default_factory=dict[Any, View])
    _sections: dict[tuple[Any, ...], Section] = field(default_factory=dict[Any, Section])

    def write(self, status: Status | None = None) -> Path:
        """Write the page from what the folders hold now, whole or not at all.

        Raises
        ------
        ResultsError : if no folder holds a finished experiment and none is to come.
        """
        status = status or Status()
        found = {of.label: of.results() for of in self.folders}
        if not any(found.values()) and not status.pending:
            raise ResultsError(
                f"{self.path.parent} holds no finished experiment; run resanalysis lesion first"
            )
        sections = [self._section(experiment.stem, found) for experiment in EXPERIMENTS]
        text = rendered(self.title, self.folders, found, [s for s in sections if s], status)
        write_atomically(self.path, text.encode())
        return self.path

    def _section(self, stem: str, found: Mapping[str, list[Result]]) -> Section | None:
        """The section of an experiment, where a model has it; drawn anew only where something is."""
        there = {
            label: result for label, some in found.items() for result in some if result.stem == stem
        }
        if not there:
            return None
        # Drawing is most of the work of a page, which is written again after every experiment: what was
        # finished at the same time is the same.
        key = (stem, *((label, result.entry.get("finished")) for label, result in there.items()))
        if key not in self._sections:
            of = {one.label: one for one in self.folders}
            views: list[View] = []
            for label, result in there.items():
                known = (stem, label, str(result.entry.get("finished")))
                if known not in self._views:
                    self._views[known] = view(of[label], result)
                views.append(self._views[known])
            experiment = next(iter(there.values())).experiment
            curves = together(there) if len(there) > 1 else None
            self._sections[key] = section(experiment, views, curves)
        return self._sections[key]


def rendered(
    title: str,
    folders: Sequence[Of],
    found: Mapping[str, list[Result]],
    sections: Sequence[Section],
    status: Status,
) -> str:
    """The page's text."""
    return (
        _environment()
        .get_template("page.html")
        .render(
            title=title,
            models=[model_facts(of, found[of.label]) for of in folders],
            notes=status.notes,
            pending=[{"stem": stem, "cost": cost} for stem, cost in status.pending],
            pairs=status.pairs,
            sections=sections,
            findings=_findings(sections, found, status.pairs),
            left_out=status.left_out,
            command=status.command,
            versions=_versions([result for some in found.values() for result in some]),
            css=_part("page.css"),
            script=_part("page.js"),
            dark_colours=dark_colours("".join(one.wide for one in _pictures(sections))),
        )
    )


def _findings(
    sections: Sequence[Section], found: Mapping[str, list[Result]], pairs: Pairs | None
) -> list[dict[str, str]]:
    """What sets the models apart, and what each experiment found, in the order of the sections."""
    apart = () if pairs is None else pairs.findings
    said = [_said(one, "pairs", "Model against model") for one in apart]
    for part in sections:
        of = [
            (label, one) for label, some in found.items() for one in some if one.stem == part.stem
        ]
        for label, result in of:
            said += [_said(one, part.stem, part.title, label) for one in result.findings()]
    return said


def _pictures(sections: Sequence[Section]) -> list[Picture]:
    alone = [view.picture for one in sections for view in one.views]
    return alone + [one.together for one in sections if one.together is not None]


def _said(finding: Finding, stem: str, title: str, model: str = "") -> dict[str, str]:
    """A finding with the section it is from."""
    evidence = finding.evidence.strip("; ")
    return {
        "stem": stem,
        "title": title,
        "model": model,
        "text": finding.text,
        "evidence": evidence,
    }


def model_facts(of: Of, found: Sequence[Result]) -> dict[str, Any]:
    """What was analysed, and how well the intact network does."""
    if not found:
        return {"label": of.label, "intact": None, "facts": [("Model", of.asked.model)]}
    entries = [result.entry for result in found]
    rows = [
        ("Model", of.asked.model if of.label else ""),
        *_of_the_chain(entries),
        *_of_the_data(entries),
    ]
    return {
        "label": of.label,
        "intact": _intact(found),
        "facts": [(name, text) for name, text in rows if text and text != "None"],
    }


def _of_the_chain(entries: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    shape: Mapping[str, Any] = next((e["view"] for e in entries if e.get("view")), {})
    skips = ", ".join(f"{number} {kind}" for kind, number in (shape.get("skips") or {}).items())
    return [
        ("Chain", f"{shape.get('units')} units in {shape.get('stages')} stages; skips: {skips}"),
        ("Parameters in units", f"{int(shape.get('parameters') or 0):,}"),
    ]


def _of_the_data(entries: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """From the first experiment that measured examples."""
    measured = next((e for e in entries if (e.get("facts") or {}).get("n")), entries[0])
    facts: Mapping[str, Any] = measured.get("facts") or {}
    return [
        ("Data", f"{facts.get('data') or (measured.get('options') or {}).get('data')}"),
        ("Examples", _examples(facts)),
        ("Model sha256", _brief(measured.get("model_sha256"))),
        ("Data sha256", _brief(measured.get("data_sha256"))),
    ]


def _examples(facts: Mapping[str, Any]) -> str:
    if not facts.get("n"):
        return ""
    subset = f", {facts['subset']}" if facts.get("subset") else ""
    return f"{int(facts['n']):,}{subset}"


def _brief(digest: Any) -> str:
    return f"{str(digest)[:16]}…" if digest else ""


def _intact(found: Sequence[Result]) -> dict[str, str] | None:
    """The intact network's error with its interval, from the lesion's table."""
    table = next((result.table for result in found if result.stem == "lesion"), None)
    if table is None:
        return None
    row = table.loc[table["unit"] == -1].iloc[0]
    # NaN: there are no labels.
    if row["error"] != row["error"]:
        return None
    low, high = 100 * row["error_low"], 100 * row["error_high"]
    return {
        "value": f"{100 * row['error']:.2f} %",
        "name": "error",
        "interval": f"95 %: {low:.2f} to {high:.2f} %",
    }


def _versions(found: Sequence[Result]) -> str:
    known: Mapping[str, str] = (found[0].entry.get("versions") or {}) if found else {}
    return "; ".join(f"{name} {version}" for name, version in known.items())


@cache
def _environment() -> Environment:
    """Names in model files and folders are anyone's: all that is put into the page is escaped."""
    return Environment(
        loader=PackageLoader(_PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _part(name: str) -> Markup:
    """A file of ours that goes into the page as it is."""
    return Markup((files(_PACKAGE) / "templates" / name).read_text(encoding="utf-8"))
