"""A route as a notebook shows it: a box a step, and a row for each run of steps that are alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from resanalysis.network.strip import BLUE, HOLLOW, ORANGE, bar, box, panel, span, text
from resanalysis.routes.route import BranchOnly, Bridge, Full, Parallel, Route, SkipOnly

_LEGEND = (
    "A box: a step. Blue: a unit in its place; orange: a unit in another's. Hollow: its skip only. "
    "Framed: its branch only, multiplied, or several in parallel. A bar: plain layers that always run."
)
UnitStep = Full | SkipOnly | BranchOnly | Parallel

_HEAD = ("positions", "units", "what runs")


@dataclass(frozen=True)
class _Stop:
    """A step with the position it has among the units of the route, from 0."""

    position: int
    units: tuple[int, ...]
    what: str

    @property
    def moved(self) -> bool:
        return self.position != self.units[0]


def route_html(route: Route) -> str:
    """A route for a notebook."""
    boxes: list[str] = []
    stops: list[_Stop] = []
    for step in route.steps:
        if isinstance(step, Bridge):
            boxes.append(bar(f"plain layers before position {step.unit}"))
            continue
        position = stops[-1].position + len(stops[-1].units) if stops else 0
        stops.append(_Stop(position, _units(step), _what(step)))
        boxes.append(_box(stops[-1]))
    counts = Counter(stop.what for stop in stops)
    moved = sum(stop.moved for stop in stops)
    parts = [f"{count} {what}" for what, count in counts.items()]
    parts += [f"{moved} out of place"] if moved else []
    title = f"<b>Route of {len(stops)} steps</b>: {text(', '.join(parts), 200)}"
    return panel(title, boxes, _LEGEND, _HEAD, [_row(run) for run in _runs(stops)])


def _units(step: UnitStep) -> tuple[int, ...]:
    return step.units if isinstance(step, Parallel) else (step.unit,)


def _what(step: UnitStep) -> str:
    match step:
        case Full(_, 1.0):
            return "whole"
        case Full(_, factor):
            return f"branch × {factor:g}"
        case SkipOnly():
            return "skip only"
        case BranchOnly():
            return "branch only"
        case Parallel(_, loops):
            return "in parallel" + (f", {loops} times" if loops > 1 else "")


def _box(stop: _Stop) -> str:
    title = f"position {stop.position}: unit {span(stop.units[0], stop.units[-1])}, {stop.what}"
    width = 9 * min(len(stop.units), 20)
    if stop.what == "skip only":
        return box(title, HOLLOW, "1px solid")
    border = "1px solid transparent" if stop.what == "whole" else "2px solid"
    return box(title, ORANGE if stop.moved else BLUE, border, width)


def _runs(stops: Sequence[_Stop]) -> list[list[_Stop]]:
    """Steps that do the same to units that follow each other."""
    runs: list[list[_Stop]] = []
    for stop in stops:
        before = runs[-1][-1] if runs else stop
        # Units in parallel are a row of their own: those before them are another mean.
        alone = len(stop.units) == 1 and before.what == stop.what
        if alone and before.units[0] + 1 == stop.units[0]:
            runs[-1].append(stop)
        else:
            runs.append([stop])
    return runs


def _row(run: Sequence[_Stop]) -> list[object]:
    first, last = run[0], run[-1]
    end = last.position + len(last.units) - 1
    units = span(first.units[0], last.units[-1])
    return [span(first.position, end), units, first.what + (", moved" if first.moved else "")]
