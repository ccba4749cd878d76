"""The response figure: its lines are the table, published curves lie beside them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resanalysis import figures
from resanalysis.figures.response import draw
from resanalysis.figures.style import FULL, HALF
from tests.figures.frames import published_frame, response_frame


@pytest.mark.parametrize("width", [FULL, HALF])
def test_lines_are_the_table_in_both_orders(width: float) -> None:
    frame = response_frame()
    first, second = figures.response(frame, width=width).axes
    for model, line in zip(("resnet20", "resnet56"), first.get_lines()[::2], strict=True):
        rows = frame.loc[frame["model"] == model].dropna(subset="std")
        assert line.get_ydata() == pytest.approx(rows.sort_values("layer")["std"].to_numpy())
    sorted_line = second.get_lines()[0].get_ydata()
    assert (np.diff(np.asarray(sorted_line)) <= 0).all()
    assert first.get_ylim() == second.get_ylim()
    triangles = first.get_lines()[1].get_xdata()
    assert list(np.asarray(triangles)) == [7, 13]  # the first layers of stages 1 and 2


def test_a_layer_that_never_ran_is_left_out() -> None:
    frame = response_frame()
    lost = pd.DataFrame({"model": ["resnet20"], "layer": [-1], "rank": [-1], "stage": [-1]})
    line = draw(pd.concat([frame, lost])).get_lines()[0]
    assert min(np.asarray(line.get_xdata())) == 1


@pytest.mark.parametrize("width", [FULL, HALF])
def test_published_curves_have_their_models_colour(width: float) -> None:
    figure = figures.response(response_frame(), published=published_frame(), width=width)
    lines = {str(line.get_label()): line for line in figure.axes[0].get_lines()}
    assert "plain-20, published" not in lines
    ours, theirs = lines["resnet20"], lines["ResNet-20, published"]
    assert ours.get_color() == theirs.get_color()
    figure.canvas.draw()
    assert figure.legends[0].get_window_extent().width <= width * figure.dpi + 1
