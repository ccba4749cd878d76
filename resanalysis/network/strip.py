"""A row of boxes with a table below it, as HTML for a notebook.

Nothing but inline styles: hosts that show notebooks take style sheets and scripts out. Text and borders have
the colour of what is around them and boxes are half transparent, so that light and dark are both legible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import TypeVar

from resanalysis.errors import printable

Item = TypeVar("Item")

_MOST_ROWS = 24
_MOST_BOXES = 100
_LONGEST = 60

BLUE, ORANGE, HOLLOW = "#0173b2a0", "#de8f05a0", "transparent"
"""Two colours that the colour-blind can tell apart, half transparent; and none."""

_CELL = "padding:1px 10px 1px 0;text-align:left"
_BOX = (
    "display:inline-block;height:18px;margin-right:2px;box-sizing:border-box;vertical-align:middle"
)


def text(value: object, most: int = _LONGEST) -> str:
    """A value as HTML: names come from files and may hold anything."""
    return escape(printable(str(value), most))


def box(title: str, fill: str, border: str = "1px solid transparent", width: int = 9) -> str:
    """One part of a chain.

    Parameters
    ----------
    title : what it says when it is pointed at.
    fill : its colour.
    border : as in CSS, in the colour of the text around.
    width : in pixels.
    """
    style = f"width:{width}px;background:{fill};border:{border};{_BOX}"
    return f'<span title="{text(title, 80)}" style="{style}"></span>'


def bar(title: str) -> str:
    """Plain layers between two parts."""
    return box(title, "currentColor", width=3)


def panel(
    title: str,
    boxes: Sequence[str],
    legend: str,
    head: Sequence[str],
    rows: Sequence[Sequence[object]],
) -> str:
    """Everything together, in a size that does not grow with the chain.

    Parameters
    ----------
    title : HTML.
    boxes : as ``box`` and ``bar`` make them; of many, the first and the last are shown.
    legend : what the boxes mean, plain text.
    head, rows : of the table; of many rows, the first and the last are shown.
    """
    body = "".join(
        _row("td", [text(cell) for cell in row])
        for row in _cut(rows, _MOST_ROWS, lambda hidden: [f"… {hidden} more rows"])
    )
    strip = "".join(_cut(boxes, _MOST_BOXES, lambda hidden: f" … {hidden} more … "))
    return (
        f"<div>{title}</div>"
        f'<div style="line-height:24px;margin:4px 0">{strip}</div>'
        f'<div style="font-size:85%;opacity:.75">{text(legend, 300)}</div>'
        f'<table style="border-collapse:collapse;margin-top:4px">{_row("th", map(text, head))}{body}</table>'
    )


def _row(kind: str, cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f'<{kind} style="{_CELL}">{cell}</{kind}>' for cell in cells) + "</tr>"


def _cut(items: Sequence[Item], most: int, told: Callable[[int], Item]) -> list[Item]:
    """The first and the last of them, and in between how many are left out."""
    if len(items) <= most:
        return list(items)
    half = most // 2
    return [*items[:half], told(len(items) - 2 * half), *items[-half:]]


def span(first: int, last: int) -> str:
    """``3`` or ``3–7``."""
    return str(first) if first == last else f"{first}–{last}"
