"""A network as a notebook shows it: a box a unit, and a row for each run of units that are alike."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from resanalysis.network.strip import BLUE, HOLLOW, ORANGE, bar, box, panel, span, text

if TYPE_CHECKING:
    from resanalysis.network import Place, ResidualNetwork, ResidualUnit

# Of longer chains, a box stands for a run of units that are alike.
_MOST_UNITS = 100
_LEGEND = (
    "A box: a unit, its colour changing with the stage. Framed: a transition. Dashed: a layer without a skip. "
    "A bar: plain layers that always run."
)
_HEAD = ("units", "names", "stage", "skip", "stream", "parameters")


def network_line(network: ResidualNetwork) -> str:
    """The network in one line."""
    units = network.units
    skips = Counter(unit.skip_kind for unit in units)
    kinds = ", ".join(f"{count} {kind}" for kind, count in skips.most_common())
    stages, transitions = len({u.stage for u in units}), sum(u.transition for u in units)
    return (
        f"{network.name}: {len(units)} units in {stages} stage{'s' * (stages != 1)}, "
        f"{transitions} transition{'s' * (transitions != 1)}; skips: {kinds}"
    )


def network_html(network: ResidualNetwork) -> str:
    """The network for a notebook."""
    runs = _alike(network)
    boxes: list[str] = []
    for run in runs:
        if run[0].bridge is not None:
            boxes.append(bar(f"plain layers before unit {run[0].unit.index}"))
        boxes += [_box(run)] if len(network) > _MOST_UNITS else [_box([place]) for place in run]
    paths = sum(unit.skip_kind != "none" for unit in network.units)
    title = f"<b>{text(network_line(network), 200)}</b>; 2<sup>{paths}</sup> paths"
    return panel(title, boxes, _LEGEND, _HEAD, [_row(run) for run in runs])


def _alike(network: ResidualNetwork) -> list[list[Place]]:
    """Units that follow each other directly and differ in nothing that the table says."""
    runs: list[list[Place]] = []
    for place in network.chain():
        directly = bool(runs) and network.joined(place.unit.index)
        if directly and _kind(place.unit) == _kind(runs[-1][-1].unit):
            runs[-1].append(place)
        else:
            runs.append([place])
    return runs


def _kind(unit: ResidualUnit) -> tuple[object, ...]:
    return unit.stage, unit.transition, unit.skip_kind, unit.in_shape, unit.out_shape


def _box(run: list[Place]) -> str:
    first = run[0].unit
    fill = HOLLOW if first.skip_kind == "none" else (BLUE, ORANGE)[first.stage % 2]
    border = "2px solid" if first.transition else "1px solid transparent"
    if first.skip_kind == "none":
        border = "2px dashed" if first.transition else "1px dashed"
    return box(f"{_units(run)} {_names(run)}: {first.skip_kind}, {_stream(run)}", fill, border)


def _row(run: list[Place]) -> list[object]:
    first = run[0].unit
    return [
        _units(run),
        _names(run),
        f"{first.stage}{', transition' if first.transition else ''}",
        first.skip_kind,
        _stream(run),
        f"{sum(place.unit.parameters for place in run):,}",
    ]


def _units(run: list[Place]) -> str:
    return span(run[0].unit.index, run[-1].unit.index)


def _names(run: list[Place]) -> str:
    first, last = run[0].unit.name, run[-1].unit.name
    return first if len(run) == 1 else f"{first} … {last}"


def _stream(run: list[Place]) -> str:
    """The shape of the stream before and behind, named once where it stays."""
    shapes = ["×".join(map(str, shape)) for shape in (run[0].unit.in_shape, run[-1].unit.out_shape)]
    return shapes[0] if shapes[0] == shapes[1] else " → ".join(shapes)
