"""A figure as SVG inside the page: text as text, the colours of the page's theme, names of its own."""

from __future__ import annotations

import colorsys
import io
import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_HREF = f"{{{_XLINK}}}href"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_COLOUR = re.compile(r"#([0-9a-f]{6})\b")
_FONT = re.compile(r"(font: [^;]*?[\d.]+px)[^;]*")
# The dark theme's ground and ink, as page.css has them.
_PAPER, _INK = (0x14 / 255, 0x17 / 255, 0x1A / 255), (0xE6 / 255, 0xE4 / 255, 0xDF / 255)
_GREY = 0.03
# A map's cells and scale keep their colours: their order says what is large.
_MAPS, _ON_MAPS = ("QuadMesh", "image"), ("PathCollection", "LineCollection", "line2d")


def inline_svg(figure: Figure, name: str, *, flat: bool = False) -> str:
    """The figure as one ``<svg>`` element.

    Parameters
    ----------
    name : unlike that of any other figure of the page; the names of what it defines begin with it.
    flat : all marks as one picture, where they are too many to be elements of a page.

    Colours become ``var(--cRRGGBB, #RRGGBB)``, for which ``dark_colours`` has the dark theme's values.
    """
    from matplotlib import rc_context

    for ax in figure.axes if flat else ():
        for artist in (*ax.lines, *ax.collections, *ax.patches):
            artist.set_rasterized(True)
    content = io.BytesIO()
    # The salt makes matplotlib's names the same in every run, so that a page changes only where a result does.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(content, format="svg", transparent=True, dpi=150, metadata={"Date": None})
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    root = ET.fromstring(content.getvalue())
    # A `style` element would be the whole page's.
    _drop(root, "metadata", "style")
    _name_apart(root, name)
    _themed(root)
    root.attrib = {"viewBox": root.attrib["viewBox"], "aria-hidden": "true"}
    return re.sub(r"\s*\n\s*", "\n", ET.tostring(root, encoding="unicode"))


def _drop(root: ET.Element, *names: str) -> None:
    """Remove elements that a page has of its own, wherever they are."""
    tags = {f"{{{_SVG}}}{name}" for name in names}
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in tags]:
            parent.remove(child)


def _name_apart(root: ET.Element, name: str) -> None:
    """Names that something refers to begin with the figure's; the others go."""
    used: set[str] = set()
    for element in root.iter():
        for key, value in element.attrib.items():
            used |= set(_REFERENCE.findall(value))
            if key == _HREF and value.startswith("#"):
                used.add(value[1:])
    _mark_maps(root)
    for element in root.iter():
        known = element.attrib.pop("id", "")
        if known in used:
            element.attrib["id"] = f"{name}-{known}"
        for key, value in list(element.attrib.items()):
            if key == _HREF and value.startswith("#"):
                element.attrib[key] = f"#{name}-{value[1:]}"
            elif "url(#" in value:
                element.attrib[key] = _REFERENCE.sub(rf"url(#{name}-\1)", value)


def _mark_maps(root: ET.Element) -> None:
    """Maps, and what is drawn on them: a dot that is white on a dark cell stays white."""
    for parent in root.iter():
        names = [child.attrib.get("id", "") for child in parent]
        if any(name.startswith(_MAPS) for name in names):
            for child, name in zip(parent, names, strict=True):
                if name.startswith((*_MAPS, *_ON_MAPS)):
                    child.attrib["class"] = "map"


def _themed(element: ET.Element) -> None:
    """Colours as variables of the page, but in maps; text in the page's own font."""
    if element.attrib.get("class") == "map":
        return
    for key in ("style", "fill", "stroke"):
        if key in element.attrib:
            element.attrib[key] = _COLOUR.sub(r"var(--c\1,#\1)", element.attrib[key])
    if element.tag == f"{{{_SVG}}}text" and "style" in element.attrib:
        element.attrib["style"] = _FONT.sub(r"\1 var(--figure)", element.attrib["style"])
    for child in element:
        _themed(child)


def dark_colours(pictures: str) -> dict[str, str]:
    """For each colour in these pictures the one that says the same on a dark ground: ``0173b2`` → ``#4fb4ea``.

    Greys are turned round between ink and paper; colours keep their hue and are made light enough.
    """
    found = sorted(set(re.findall(r"var\(--c([0-9a-f]{6}),", pictures)))
    return {colour: _dark(colour) for colour in found}


def _dark(colour: str) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4))
    if max(red, green, blue) - min(red, green, blue) < _GREY:
        channels = tuple(
            red * paper + (1 - red) * ink for paper, ink in zip(_PAPER, _INK, strict=True)
        )
    else:
        hue, light, saturation = colorsys.rgb_to_hls(red, green, blue)
        channels = colorsys.hls_to_rgb(hue, max(light, 0.62), min(saturation, 0.8))
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in channels)
