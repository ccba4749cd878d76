"""Mean and spread of the error, stage by stage, and the words for them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resanalysis import figures
from resanalysis.figures.refinement import headlines
from resanalysis.figures.style import FULL, HALF
from tests.figures.frames import refinement_frame


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
