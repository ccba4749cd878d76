"""Mean and spread of the error, stage by stage, and the words for them."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from resanalysis import figures
from resanalysis.figures.style import FULL, HALF
from resanalysis.figures.tables.refinement import headlines
from resanalysis.figures.tables.refinement_depth import headlines as depth_headlines
from tests.figures.frames import depth_frame, refinement_frame, refinement_read_frame


@pytest.mark.parametrize("width", [FULL, HALF])
def test_it_shows_the_table(width: float) -> None:
    frame = refinement_frame()
    first, second = figures.refinement(frame, width=width).axes
    stages = [rows for _, rows in frame.groupby("stage")]
    for ax, name, skip in ((first, "mean", 1), (second, "spread", 0)):
        for line, rows in zip(ax.lines[skip:], stages, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), rows["unit"])
            np.testing.assert_array_equal(line.get_ydata(), rows[name])
    for band, rows in zip(first.collections, stages, strict=True):
        corners = band.get_paths()[0].vertices
        at = corners[corners[:, 0] == rows["unit"].iloc[0], 1]
        assert [at.min(), at.max()] == [rows["mean_low"].iloc[0], rows["mean_high"].iloc[0]]


@pytest.mark.parametrize("width", [FULL, HALF])
def test_it_shows_what_was_read_off_the_stream(width: float) -> None:
    frame, depth = refinement_read_frame(), depth_frame()
    figure = figures.refinement(frame, depth=depth, width=width)
    figure.savefig(io.BytesIO(), format="png")
    box = figure.get_tightbbox()
    assert box.x0 > -0.02
    assert box.x1 < width + 0.02
    _, _, descent, exits, depths = figure.axes
    stages = [rows for _, rows in frame.groupby("stage")]
    for line, rows in zip(descent.lines[1:], stages, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), rows["descent"])
    for line, name in zip(exits.lines, ("lens_error", "head_error"), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), frame[name])
    bars = [[bar.get_height() for bar in kind] for kind in depths.containers]
    np.testing.assert_allclose(bars, [[2 / 6, 3 / 6, 1 / 6, 0], [0, 0, 0, 1]])
    names = [text.get_text() for text in depths.get_legend().get_texts()]
    assert names == ["right (6)", "wrong (2)"]


def test_without_labels_disagreement_is_drawn() -> None:
    frame = refinement_read_frame().drop(columns="descent").assign(lens_error=np.nan)
    exits = figures.refinement(frame).axes[-1]
    assert exits.get_ylabel() == "Other answers (fraction)"
    np.testing.assert_allclose(exits.lines[0].get_ydata(), 1 - frame["lens_agreement"])


def test_headlines_of_what_was_read() -> None:
    rows = dict(headlines(refinement_read_frame()))
    assert rows["units whose move goes down the loss"] == "24 of 24"
    assert rows["lens after unit 0"] == "error 60.00 %, 0.00 % settled"
    assert rows["few examples"] == "lenses of 64 channels are fitted on 100: they overfit"
    assert depth_headlines(depth_frame()) == [
        ("prediction depth, all", "1 (median), 1.38 (mean), 8 examples"),
        ("prediction depth, right answers", "1 (median), 0.833 (mean), 6 examples"),
        ("prediction depth, wrong answers", "3 (median), 3 (mean), 2 examples"),
    ]


def test_headlines() -> None:
    frame = pd.DataFrame(
        {
            "stage": [0, 0, 0, 0, 1],
            "mean": [0.5, -0.75, 0.125, 0.0, 0.0],
            "spread": [1.0, 3.0, 0.5, 0.0, 0.0],
        }
    )
    assert headlines(frame) == [
        ("stage 0: spread of the error",
         "1 after its first unit, 0.5 before its last; it falls at 2 of 3 units"),
        ("stage 0: largest |mean| / spread", "0.5"),
    ]  # fmt: skip
