"""Drawings against images that were looked at. ``python -m tests.figures.test_images`` draws new ones.

The tolerance takes differences between versions of matplotlib and its fonts, not a line that is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from matplotlib.testing.compare import compare_images

from resanalysis import figures
from resanalysis.figures.style import HALF
from tests.figures.frames import (
    chain_frame,
    damage_frame,
    published_frame,
    response_frame,
    spans_frame,
    stream_frame,
)
from tests.figures.test_figures import lesion_frame, many_frame, reorder_frame

IMAGES = Path(__file__).parent / "images"
TOLERANCE = 6  # root mean square over pixels, of 255
DRAWINGS: dict[str, Callable[[], Figure]] = {
    "chain_tree": lambda: figures.inspect(chain_frame(4)),
    "chain_rows": lambda: figures.inspect(chain_frame(13)),
    "chain_half": lambda: figures.inspect(chain_frame(13), width=HALF),
    "lesion": lambda: figures.lesion(lesion_frame()),
    "lesion_half": lambda: figures.lesion(lesion_frame(), width=HALF),
    "lesion_many": lambda: figures.lesion_many(many_frame()),
    "reorder": lambda: figures.reorder(reorder_frame()),
    "response": lambda: figures.response(response_frame(), published=published_frame()),
    "stream": lambda: figures.stream(stream_frame(), spans=spans_frame(), damage=damage_frame()),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawing_is_the_one_that_was_looked_at(name: str, tmp_path: Path) -> None:
    drawn = tmp_path / f"{name}.png"
    DRAWINGS[name]().savefig(drawn, dpi=100)
    difference = compare_images(str(IMAGES / f"{name}.png"), str(drawn), tol=TOLERANCE)
    assert difference is None, difference


def test_a_missing_skip_is_noticed(tmp_path: Path) -> None:
    drawn = tmp_path / "plain.png"
    figures.inspect(chain_frame(13).assign(skip="none")).savefig(drawn, dpi=100)
    assert compare_images(str(IMAGES / "chain_rows.png"), str(drawn), tol=TOLERANCE) is not None


if __name__ == "__main__":
    mpl.use("Agg")
    IMAGES.mkdir(exist_ok=True)
    for stem, make in DRAWINGS.items():
        make().savefig(IMAGES / f"{stem}.png", dpi=100, metadata={"Software": None})
