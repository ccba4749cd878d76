"""The response figure: its lines are the table, published curves lie beside them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resanalysis import figures
from resanalysis.figures.style import FULL, HALF
from resanalysis.figures.tables.response import draw
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
    figure.draw_without_rendering()
    assert figure.legends[0].get_window_extent().width <= width * figure.dpi + 1


def test_every_network_looks_its_own_way() -> None:
    frame = response_frame().query("model == 'resnet20'").drop(columns="stage")
    lines = draw(pd.concat([frame.assign(model=f"{number}") for number in range(12)])).get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 12


@pytest.mark.parametrize("width", [FULL, HALF])
def test_many_networks_leave_the_axes_their_height(width: float) -> None:
    """Five networks with their published curves, as in the paper's Figure 7: the legend is many rows."""
    frame = response_frame().query("model == 'resnet20'")

    def height(networks: int) -> float:
        several = pd.concat(
            [
                frame.assign(model=f"network {number:2d}, after batch norm")
                for number in range(networks)
            ]
        )
        figure = figures.response(several, width=width)
        figure.draw_without_rendering()
        return min(float(ax.get_window_extent().height) for ax in figure.axes) / figure.dpi

    assert height(11) > 0.85 * height(2)


def test_layers_after_batch_norm_are_never_joined_with_raw_ones() -> None:
    """The pre-activation network whose one line went up and down between its two kinds of layers."""
    frame = response_frame().query("model == 'resnet56'").assign(kind="3x3")
    frame["batch_norm"] = frame["layer"] % 2 == 1
    for order in ("layer", "rank"):
        lines = {str(line.get_label()): line for line in draw(frame, order=order).get_lines()}
        for name, after in (
            ("resnet56, after batch norm", True),
            ("resnet56, no batch norm", False),
        ):
            rows = frame.loc[frame["batch_norm"] == after]
            expected = rows["std"] if order == "layer" else rows["std"].sort_values(ascending=False)
            np.testing.assert_allclose(lines[name].get_ydata(), expected)
            x = rows["layer"] if order == "layer" else range(1, len(rows) + 1)
            np.testing.assert_array_equal(lines[name].get_xdata(), list(x))
    looks = {line.get_marker() for name, line in lines.items() if name.startswith("resnet56")}
    assert len(looks) == 2


def test_layers_of_another_kind_are_lines_of_their_own() -> None:
    frame = response_frame().query("model == 'resnet20'").assign(batch_norm=True)
    frame["kind"] = np.where(frame["layer"] % 3 == 0, "1x1", "3x3")
    names = [str(line.get_label()) for line in draw(frame).get_lines()]
    assert names[:2] == ["resnet20, 3x3", "resnet20, 1x1"]
    raw = draw(frame.assign(kind="3x3", batch_norm=False)).get_lines()
    assert raw[0].get_label() == "resnet20, no batch norm"
