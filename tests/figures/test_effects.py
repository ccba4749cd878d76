"""The map of later units, the output beside it, and the words for both."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resanalysis import figures
from resanalysis.figures.style import FULL, HALF
from resanalysis.figures.tables.effects import headlines
from tests.figures.frames import effects_frame


@pytest.mark.parametrize("width", [FULL, HALF])
def test_it_shows_the_table(width: float) -> None:
    frame = effects_frame()
    axes = figures.effects(frame, width=width).axes
    drawn = axes[0].collections[0].get_array()
    assert drawn is not None
    cells = np.ma.filled(np.ma.asarray(drawn, dtype=float).reshape(27, 27), np.nan)
    known = frame.set_index(["skipped", "unit"])["change_mean"]
    for skipped in range(27):
        for later in range(27):
            expected = known.get((skipped, later), np.nan)
            np.testing.assert_allclose(cells[later, skipped], expected)
    assert np.isnan(cells[:, 10]).all()  # which cannot be skipped
    total, direct = axes[1].lines
    output = frame.loc[frame["unit"] == 27]
    np.testing.assert_allclose(total.get_xdata(), output["skipped"])
    np.testing.assert_allclose(total.get_ydata(), output["change_mean"])
    there = output.loc[output["direct"].notna()]
    np.testing.assert_allclose(direct.get_xdata(), there["skipped"])
    np.testing.assert_allclose(direct.get_ydata(), there["direct"])


def test_without_an_output_there_is_the_map_alone() -> None:
    figure = figures.effects(effects_frame(5, output=False))
    assert [ax.get_xlabel() for ax in figure.axes][:1] == ["Skipped unit"]
    assert "Change of output (fraction)" not in [ax.get_ylabel() for ax in figure.axes]
    alone = effects_frame(1)  # one unit, and the output behind it
    (axes,) = figures.effects(alone).axes
    assert axes.get_ylabel() == "Change of output (fraction)"


def test_headlines() -> None:
    frame = pd.DataFrame(
        {
            "skipped": [0, 0, 0, 1, 1, 2],
            "unit": [1, 2, 3, 2, 3, 3],
            "change_mean": [0.5, 0.25, 0.75, 1.5, 0.125, 0.25],
            "direct": [0.5, 0.5, 0.5, np.nan, 0.0625, 0.25],
            "skipped_name": list("aaabbc"),
            "name": ["b", "c", "output", "c", "output", "output"],
        }
    )
    assert headlines(frame) == [
        ("change of the unit behind, median", "1"),
        ("change of all units after that, median", "0.25"),
        ("largest mean effect", "unit 1 (b): 1.5"),
        ("change of the output, median over skipped units", "0.25; most without 0 (a): 0.75"),
        ("direct and total change of the output, median", "0.25 and 0.25, 3 units of the last run"),
    ]
    assert headlines(frame.assign(change_mean=np.nan)) == []
