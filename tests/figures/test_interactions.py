"""The map and the network show the table's numbers, and which of them were found."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from resanalysis import figures
from resanalysis.figures.style import FULL, HALF
from resanalysis.figures.tables.interactions import Score, draw, draw_network, headlines, strongest
from tests.figures.frames import interactions_frame


@pytest.mark.parametrize("width", [FULL, HALF])
def test_it_has_the_width_asked_for_and_cuts_nothing(width: float) -> None:
    frame = interactions_frame()
    before = frame.copy()
    figure = figures.interactions(frame, width=width)
    figure.savefig(io.BytesIO(), format="png")
    assert figure.get_figwidth() == width
    box = figure.get_tightbbox()
    assert box.x0 > -0.02
    assert box.y0 > -0.02
    assert box.x1 < width + 0.02
    assert box.y1 < figure.get_figheight() + 0.02
    pd.testing.assert_frame_equal(frame, before)
    assert figure.axes[0].get_xlabel() == "Unit a"
    assert figure.axes[0].get_ylabel() == "Unit b"


@pytest.mark.parametrize("score", ["loss", "margin"])
def test_every_pair_has_its_cell_and_what_is_found_its_dot(score: Score) -> None:
    frame = interactions_frame(9)
    axes = draw(frame, score=score)
    prefix = "" if score == "loss" else "margin_"
    cells = np.ma.filled(axes.collections[0].get_array(), np.nan).reshape(8, 8)
    for row in frame.to_dict("records"):
        cell = cells[row["unit_b"] - 1, row["unit_a"]]
        assert cell == pytest.approx(row[f"{prefix}interaction"])
    assert np.isnan(cells[np.triu_indices(8, 1)]).all()
    found = frame.loc[frame[f"{prefix}p_fdr"] < 0.05]
    dots = axes.collections[1].get_offsets()
    np.testing.assert_allclose(dots, np.c_[found["unit_a"] + 0.5, found["unit_b"] - 0.5])
    assert f"interaction in the {score}" in axes.child_axes[0].get_xlabel()


def test_lines_part_the_stages() -> None:
    lines = draw(interactions_frame(9)).lines
    assert sorted(tuple(line.get_xdata()) for line in lines) == [(0, 3), (0, 6), (3, 3), (6, 6)]
    assert [line.get_ydata()[0] for line in lines] == [2, 2, 5, 5]  # row 0 is unit 1


def test_the_network_has_the_strongest_pairs_that_were_found() -> None:
    frame = interactions_frame(9)
    graph = strongest(frame)
    found = frame.loc[frame["p_fdr"] < 0.05]
    sizes = found["interaction"].abs().sort_values(ascending=False)
    expected = {
        tuple(pair) for pair in found.loc[sizes.index[:14], ["unit_a", "unit_b"]].to_numpy()
    }
    assert {tuple(sorted(edge)) for edge in graph.edges} == expected
    assert len(graph) == 9
    axes = draw_network(frame)
    assert sorted(text.get_text() for text in axes.texts) == [str(unit) for unit in range(9)]
    lines = sum(
        len(item.get_segments()) for item in axes.collections if hasattr(item, "get_segments")
    )
    assert lines == 14


def test_where_nothing_is_found_there_are_no_dots_and_no_lines() -> None:
    frame = interactions_frame(6).assign(p_fdr=1.0)
    figure = figures.interactions(frame)
    figure.savefig(io.BytesIO(), format="png")
    assert len(figure.axes[0].collections[1].get_offsets()) == 0
    assert strongest(frame).number_of_edges() == 0


def test_headlines() -> None:
    frame = interactions_frame(4).assign(
        interaction=[0.5, -0.25, 0.0, 0.1, 0.2, 0.3], p_fdr=[0.01, 0.01, 1, 0.2, 0.01, 1]
    )
    frame["interaction_low"], frame["interaction_high"] = (
        frame["interaction"] - 0.1,
        frame["interaction"] + 0.1,
    )
    frame.attrs["explained"] = {
        "loss": {"mean": 0.9, "low": 0.8, "high": 0.95, "others": 0.5, "largest": 0},
        "error": {"mean": None, "low": None, "high": None, "others": None, "largest": 0},
    }
    assert headlines(frame) == [
        (
            "variance of pairs that single damages explain, loss",
            "90.0 %  (95 %: 80.0 to 95.0); pairs without 0: 50.0 %",
        ),
        ("pairs that interact in the loss (FDR, 5 %)", "3 of 6: 2 redundant, 1 synergistic"),
        ("most redundant: 0 (u0) and 1 (u1)", "+0.5 nats  (95 %: +0.4 to +0.6)"),
        ("most synergistic: 0 (u0) and 2 (u2)", "-0.25 nats  (95 %: -0.35 to -0.15)"),
        ("mean size, neighbours", "0.3 nats"),
        ("mean size, others", "0.15 nats"),
    ]


def test_figures_load_seaborn_and_pyplot_only_where_they_are_drawn_with() -> None:
    """They take longer to import than most figures to draw."""
    words = "import sys, resanalysis.figures; print({'seaborn', 'matplotlib.pyplot'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
