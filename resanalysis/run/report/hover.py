"""Which row of a table each drawn point is of, so that the page can say more where one hovers.

Drawings are functions of tables, so a drawn point has its row's numbers: it is found by them, and no drawing
has to know of the page. What is no row's (a median over draws) says its own place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resanalysis.run.report.words import PLACES, short, tip

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

# This share of a line's points has to be found in two columns before they are taken for what it draws.
_ENOUGH = 0.6
_MOST_POINTS = 4000


@dataclass(frozen=True)
class Spot:
    """A place on a figure and what it says.

    Attributes
    ----------
    x, y : in widths and heights of the figure, from the top left.
    text : lines.
    """

    x: float
    y: float
    text: str


def spots(figure: Figure, tables: Mapping[str, pd.DataFrame]) -> list[Spot]:
    """Every drawn point of a figure that was drawn (its layout is done), with what its row says.

    Parameters
    ----------
    tables : what the figure was drawn from.
    """
    found: list[Spot] = []
    known = [table for table in tables.values() if len(table)]
    for ax in figure.axes:
        for points, texts in _drawn(ax, known):
            places = ax.transData.transform(points) / [figure.bbox.width, figure.bbox.height]
            inside = ax.get_window_extent().padded(4)
            pixels = ax.transData.transform(points)
            for (x, y), pixel, text in zip(places.tolist(), pixels, texts, strict=True):
                if text and inside.contains(*pixel):
                    found.append(Spot(round(x, 4), round(1 - y, 4), text))
    return found if len(found) <= _MOST_POINTS else []


def _drawn(ax: Axes, tables: list[pd.DataFrame]) -> Iterator[tuple[Floats, list[str]]]:
    """Points in data coordinates with their texts, of lines, clouds, bars and maps."""
    from matplotlib.collections import PathCollection, QuadMesh

    for line in ax.lines:
        points = np.asarray(line.get_xydata(), dtype=np.float64)
        if line.get_transform() == ax.transData and len(points):
            yield points, _texts(points, tables, ax, str(line.get_label()))
    for collection in ax.collections:
        if isinstance(collection, QuadMesh):
            yield _cells(collection, tables)
        elif isinstance(collection, PathCollection):
            points = np.asarray(collection.get_offsets(), dtype=np.float64)
            if len(points):
                yield points, _texts(points, tables, ax, str(collection.get_label()))
    bars = [
        (bar.get_x() + bar.get_width() / 2, bar.get_y() + bar.get_height()) for bar in _bars(ax)
    ]
    if bars:
        points = np.array(bars, dtype=np.float64)
        yield points, _texts(points, tables, ax, "")


def _bars(ax: Axes) -> list[Any]:
    from matplotlib.container import BarContainer

    containers = [part for part in ax.containers if isinstance(part, BarContainer)]
    return [bar for container in containers for bar in container.patches]


def _texts(points: Floats, tables: list[pd.DataFrame], ax: Axes, label: str) -> list[str]:
    """What each point says: its row where two columns hold the line, else its place in words."""
    for table in tables:
        found = _rows(points, table)
        if found is not None:
            return _tips(table, *found)
    named = "" if label.startswith("_") else f"{label}\n"
    x, y = (" ".join(axis.get_label_text().split()) for axis in (ax.xaxis, ax.yaxis))
    if not x or not y:  # a drawing, not a graph
        return ["" for _ in points]
    return [f"{named}{x} {short(float(a))}\n{y} {short(float(b))}" for a, b in points]


def _tips(table: pd.DataFrame, column: str, rows: list[list[int]]) -> list[str]:
    """The tip of each point, from what all rows that it could be have in common."""
    records = table.to_dict("records")
    texts: list[str] = []
    for members in rows:
        first, *others = [records[row] for row in members] or [{}]
        alike = {
            name: value
            for name, value in first.items()
            if name == column or all(record[name] == value for record in others)
        }
        texts.append(tip(alike, column) if members else "")
    return texts


def _numbers(table: pd.DataFrame, kinds: str) -> dict[str, list[str]]:
    """The columns of whole numbers (``i``) or others (``f``), as keys."""
    columns: dict[str, Any] = {str(name): table[name] for name in table}
    return {name: _keys(values) for name, values in columns.items() if values.dtype.kind in kinds}


def _key(value: float) -> str:
    return f"{value:.9g}"


def _keys(column: pd.Series) -> list[str]:
    return [_key(float(value)) for value in column.to_numpy(dtype=np.float64)]


def _rows(points: Floats, table: pd.DataFrame) -> tuple[str, list[list[int]]] | None:
    """The column that the points' heights are in, and the rows each can be; ``None`` where none holds them.

    Points may be drawn a little beside their place, so that bars do not hide each other: then the nearest
    whole number is the place.
    """
    keys = _numbers(table, "if")
    up = [_key(value) for value in points[:, 1].tolist()]
    heights = [name for name in _holding(up, keys) if name not in PLACES]
    for places in (points[:, 0], np.round(points[:, 0])):
        across = [_key(value) for value in places.tolist()]
        wanted = list(zip(across, up, strict=True))
        # Two columns may hold the heights by chance (0 and 1 are in many): the pair that holds most points is
        # the one drawn.
        best: tuple[int, str, list[list[int]]] = (0, "", [])
        for column in heights:
            for place in (name for name in _holding(across, keys) if name != column):
                rows = _lookup(wanted, list(zip(keys[place], keys[column], strict=True)))
                hits = sum(bool(members) for members in rows)
                best = max(best, (hits, column, rows), key=lambda found: found[0])
        if best[0] >= _ENOUGH * len(points):
            return best[1], best[2]
    return None


def _holding(values: list[str], keys: Mapping[str, list[str]]) -> list[str]:
    """The columns in which most of the values are."""
    most = _ENOUGH * len(values)
    found: list[str] = []
    for name, column in keys.items():
        there = set(column)
        if sum(value in there for value in values) >= most:
            found.append(name)
    return found


def _lookup(wanted: list[Any], there: list[Any]) -> list[list[int]]:
    """The rows of each key."""
    rows: dict[Any, list[int]] = {}
    for row, key in enumerate(there):
        rows.setdefault(key, []).append(row)
    return [rows.get(key, []) for key in wanted]


def _cells(mesh: QuadMesh, tables: list[pd.DataFrame]) -> tuple[Floats, list[str]]:
    """The middle of each cell of a map, and its row: found where the cells hold one column by two others."""
    values: Any = np.ma.filled(np.ma.asarray(mesh.get_array(), dtype=np.float64), np.nan)
    corners = np.asarray(mesh.get_coordinates(), dtype=np.float64)
    values = values.reshape(corners.shape[0] - 1, corners.shape[1] - 1)
    middles = (corners[:-1, :-1] + corners[1:, 1:]) / 2
    there = np.argwhere(~np.isnan(values))
    cells = [_key(values[row, column]) for row, column in there.tolist()]
    for table in tables:
        found = _of_map(cells, there, table)
        if found is not None:
            return middles[there[:, 0], there[:, 1]], _tips(table, *found)
    return np.empty((0, 2)), []


def _of_map(
    cells: list[str], there: NDArray[Any], table: pd.DataFrame
) -> tuple[str, list[list[int]]] | None:
    """The column that the cells are of, and the row of each, in a table of places by two whole numbers."""
    whole = [name for name in table if table[name].dtype.kind == "i"]
    keys = _numbers(table, "f")
    heights = _holding(cells, keys)
    for down, across in permutations(whole if heights else [], 2):
        places = list(zip(table[down].tolist(), table[across].tolist(), strict=True))
        starts = table[[down, across]].min().to_numpy()
        # A map begins where its own rows and columns do, or both where the first of either does.
        for start in (starts, np.full(2, starts.min())):
            rows = _lookup([tuple(place) for place in (there + start).tolist()], places)
            for column in heights:
                if _same(cells, rows, keys[column]) >= _ENOUGH * len(cells):
                    return column, rows
    return None


def _same(cells: list[str], rows: list[list[int]], column: list[str]) -> int:
    """How many cells are what the one row of their place has."""
    pairs = zip(cells, rows, strict=True)
    return sum(len(members) == 1 and column[members[0]] == cell for cell, members in pairs)
