"""One experiment on the page: its figure, numbers, tables, protocol and command, of one model or of several."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from markupsafe import Markup

from resanalysis.experiments import Experiment
from resanalysis.figures.style import FULL, HALF
from resanalysis.run.cost import duration
from resanalysis.run.report.hover import spots
from resanalysis.run.report.listing import Listing, listed
from resanalysis.run.report.protocol import Asked, caption, command_of
from resanalysis.run.report.results import Result, results
from resanalysis.run.report.svg import inline_svg

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd
    from matplotlib.figure import Figure

# An SVG of more characters is of more marks than a reader can tell apart; the page shows its picture instead.
MOST_CHARACTERS = 400_000


@dataclass(frozen=True)
class Of:
    """A run folder of one model, as the page names it.

    Attributes
    ----------
    label : of the model; "" where it is the only one.
    out : the folder.
    asked : what the command line said.
    link : from the page to the folder: "" where it lies in it, else with a slash at the end.
    """

    label: str
    out: Path
    asked: Asked
    link: str = ""

    def results(self) -> list[Result]:
        """Its finished experiments."""
        return results(self.out)


@dataclass(frozen=True)
class Picture:
    """A figure in two widths, each with what its points say, as JSON."""

    wide: Markup
    narrow: Markup
    wide_spots: str
    narrow_spots: str


@dataclass(frozen=True)
class View:
    """One model's part of a section."""

    label: str
    picture: Picture
    headlines: list[tuple[str, str]]
    listings: list[Listing]
    protocol: str
    n: str
    seed: str
    took: str
    files: list[dict[str, str]]
    command: str
    remark: str


@dataclass(frozen=True)
class Section:
    """One experiment.

    Attributes
    ----------
    together : all models in one figure, where the experiment has a curve.
    numbers : headline numbers by name, one for each view.
    """

    stem: str
    title: str
    question: str
    reading: str
    views: list[View]
    together: Picture | None
    numbers: list[tuple[str, list[str]]]


def section(experiment: Experiment, views: list[View], together: Picture | None = None) -> Section:
    """A section of the views that there are."""
    names = list(dict.fromkeys(name for view in views for name, _ in view.headlines))
    numbers = [(name, [dict(view.headlines).get(name, "") for view in views]) for name in names]
    return Section(
        stem=experiment.stem,
        title=experiment.words.TITLE,
        question=experiment.question,
        reading=experiment.words.HOW_TO_READ,
        views=views,
        together=together,
        numbers=numbers,
    )


def view(of: Of, result: Result) -> View:
    """What a run folder says of one experiment."""
    entry = result.entry
    nothing_random = result.experiment.takes in ("view", "example")
    return View(
        label=of.label,
        picture=picture(result.draw, result.tables, f"{of.link.strip('/')}{result.stem}"),
        headlines=result.headlines(),
        listings=[listed(stem, table) for stem, table in result.tables.items()],
        protocol=caption(result.stem, entry),
        n=_examples(result),
        seed="none, nothing is random" if nothing_random else str(entry.get("seed")),
        took=duration(sum(_seconds(entry).values())),
        files=[
            {"name": name, "link": f"{quote(of.link)}{quote(name)}"}
            for name in map(str, entry.get("files") or [])
        ],
        command=command_of(result, of.asked),
        remark=_remark(result, of.asked),
    )


def picture(
    draw: Callable[[float], Figure], tables: Mapping[str, pd.DataFrame], name: str
) -> Picture:
    """A figure at both widths, with its spots."""
    drawn: list[Any] = []
    for width, kind in ((FULL, "w"), (HALF, "n")):
        figure = draw(width)
        safe = "".join(char if char.isalnum() else "-" for char in name)
        text = inline_svg(figure, f"{safe}-{kind}")
        # Thousands of points as elements make a page slow: then they are one picture, and the axes stay text.
        if len(text) > MOST_CHARACTERS:
            text = inline_svg(figure, f"{safe}-{kind}", flat=True)
        places = [[spot.x, spot.y, spot.text] for spot in spots(figure, tables)]
        drawn += [Markup(text), json.dumps(places, ensure_ascii=False, separators=(",", ":"))]
    return Picture(wide=drawn[0], narrow=drawn[2], wide_spots=drawn[1], narrow_spots=drawn[3])


def _seconds(entry: Mapping[str, Any]) -> dict[str, float]:
    """What measuring and drawing took; reading the model is once for all."""
    timings: Mapping[str, Any] = entry.get("timings") or {}
    return {name: float(timings.get(name) or 0) for name in ("measure", "write")}


def _examples(result: Result) -> str:
    number = result.facts.get("n", result.entry.get("n"))
    if result.experiment.takes in ("view", "example") or number is None:
        return "none, the network alone"
    return f"{int(number):,}"


def _remark(result: Result, asked: Asked) -> str:
    """Where the command alone draws other examples than the report: a part of a part."""
    flags = dict(result.experiment.flags)
    part = next((name for name, flag in flags.items() if flag == "--limit"), None)
    words: Sequence[str] = asked.words.get(result.experiment.command or result.stem, ())
    number = (result.entry.get("options") or {}).get(part) if part else None
    if number is None or "--limit" not in words:
        return ""
    if int(words[list(words).index("--limit") + 1]) <= int(number):
        return ""
    return (
        f"Here {number} of the report's examples were taken; the command alone takes {number} of all, which "
        "may be others."
    )
