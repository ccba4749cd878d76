"""The stream page: a panel for each measure there is, intervals and stages drawn."""

from __future__ import annotations

import io

import numpy as np
import pytest

from resanalysis import figures
from resanalysis.figures.style import FULL, HALF
from resanalysis.figures.tables.stream import draw, draw_damage, draw_spans
from tests.figures.frames import damage_frame, spans_frame, stream_frame


@pytest.mark.parametrize("width", [FULL, HALF])
def test_a_panel_for_every_measure_there_is(width: float) -> None:
    figure = figures.stream(stream_frame(), spans=spans_frame(), damage=damage_frame(), width=width)
    labels = [axes.get_ylabel().replace("\n", " ") for axes in figure.axes]
    assert labels == ["Norm", "Branch / skip norm", "Cos(branch, skip)", "Influence, 1 − cos",
                      "Cos(branch, −∂L/∂h)", "Early-exit error", "Units in span", ""]  # fmt: skip
    figure.savefig(io.BytesIO(), format="png")
    box = figure.get_tightbbox()
    assert figure.get_figwidth() == width
    assert box.x0 > -0.05
    assert box.x1 < width + 0.05
    assert len(figures.stream(stream_frame().drop(columns="cosine")).axes) == 5


def test_points_and_intervals_are_the_table() -> None:
    frame = stream_frame()
    axes = draw(frame, measure="ratio")
    plain, transitions = axes.get_lines()[:2]
    assert len(np.asarray(transitions.get_xdata())) == 2
    assert np.asarray(plain.get_ydata()) == pytest.approx(
        frame.loc[~frame["transition"], "ratio"].to_numpy()
    )
    (bars,) = axes.collections
    ends = np.array([path.vertices[:, 1] for path in bars.get_paths()])
    assert ends == pytest.approx(frame[["ratio_low", "ratio_high"]].to_numpy())


def test_the_best_span_of_each_length_is_marked() -> None:
    axes = draw_spans(spans_frame())
    marks = axes.get_lines()[0]
    assert list(np.asarray(marks.get_xdata())) == [0.5] * 9  # in the middle of cell 0
    assert list(np.asarray(marks.get_ydata())) == [row + 0.5 for row in range(9)]


def test_damage_lists_its_measures() -> None:
    axes = draw_damage(damage_frame())
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["ratio", "influence", "cosine"]
    assert axes.get_xlim() == (-1.02, 1.02)
