"""The figure of rearrangements shows the table's scores, their spread, intact and chance."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from resanalysis import figures
from resanalysis.figures.style import FULL, HALF
from resanalysis.figures.tables.rearrange import draw, draw_swaps

MIDDLE = ("skip", "reverse", "shuffle", "repeat", "parallel", "looped")


def table(kinds: tuple[str, ...] = (*MIDDLE, "swap"), draws: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [{"kind": "intact", "touched": 0, "units": "", "score": 1.0}]
    for place, kind in enumerate(kinds):
        if kind == "swap":
            rows += [
                {"kind": kind, "touched": 2, "units": f"{u} {u + 1}", "score": 1 - rng.random() / 4}
                for u in (0, 1, 2, 5, 6)
            ]
            continue
        rows += [
            {"kind": kind, "touched": size, "units": "", "score": 1 - size / 12 * (place + 1) / 6
             + (0.1 * rng.random() if kind == "shuffle" else 0)}
            for size in (1, 4, 7, 10) for _ in range(draws if kind == "shuffle" else 1)
        ]  # fmt: skip
    frame = pd.DataFrame(rows)
    return frame.assign(score_low=frame["score"] - 0.05, score_high=frame["score"] + 0.1)


def lines(axes: Axes) -> dict[str, np.ndarray]:
    """Heights of every named line, those with bars too."""
    found = {str(line.get_label()): line.get_ydata() for line in axes.lines}
    return found | {str(c.get_label()): c.lines[0].get_ydata() for c in axes.containers}


def test_each_kind_is_a_line_of_its_scores() -> None:
    frame = table()
    axes = draw(frame)
    drawn = lines(axes)
    assert (drawn["intact"][0], drawn["chance"][0]) == (1, 0)
    for kind in MIDDLE:
        name = "shuffle (mean, range of 4)" if kind == "shuffle" else kind
        expected = frame[frame["kind"] == kind].groupby("touched")["score"].mean()
        np.testing.assert_allclose(drawn[name], expected)
    assert axes.get_xlabel() == "Units touched"
    assert axes.get_ylabel() == "Normalised score"
    colours = {c.lines[0].get_color() for c in axes.containers} | {
        line.get_color() for line in axes.lines if str(line.get_label()).startswith("shuffle")
    }
    markers = {c.lines[0].get_marker() for c in axes.containers}
    assert (len(colours), len(markers)) == (6, 5)


def test_bars_are_intervals_and_the_band_the_range_of_the_orders() -> None:
    frame = table()
    axes = draw(frame)
    rows = frame[frame["kind"] == "skip"].sort_values("touched")
    (bars,) = [c.lines[2][0] for c in axes.containers if c.get_label() == "skip"]
    ends = [(low, high) for (_, low), (_, high) in bars.get_segments()]
    np.testing.assert_allclose(ends, rows[["score_low", "score_high"]])
    (band,) = [shape for shape in axes.collections if isinstance(shape, PolyCollection)]
    corners = band.get_paths()[0].vertices
    for size in (1, 4, 7, 10):
        values = corners[corners[:, 0] == size, 1]
        orders = frame.loc[(frame["kind"] == "shuffle") & (frame["touched"] == size), "score"]
        assert (values.min(), values.max()) == pytest.approx((orders.min(), orders.max()))


def test_swaps_stand_at_the_first_unit_of_their_pair_with_gaps() -> None:
    frame = table()
    axes = draw_swaps(frame)
    places = [c.lines[0].get_xdata().tolist() for c in axes.containers]
    assert places == [[0, 1, 2], [5, 6]]
    heights = np.concatenate([c.lines[0].get_ydata() for c in axes.containers])
    np.testing.assert_allclose(heights, frame.loc[frame["kind"] == "swap", "score"])
    assert axes.get_xlabel() == "First unit of the swapped pair"


@pytest.mark.parametrize("width", [FULL, HALF])
@pytest.mark.parametrize(
    ("kinds", "panels"), [((*MIDDLE, "swap"), 2), (MIDDLE, 1), (("swap",), 1), (("skip",), 1)]
)
def test_it_fits_a_column(width: float, kinds: tuple[str, ...], panels: int) -> None:
    frame = table(kinds)
    before = frame.copy()
    figure = figures.rearrange(frame, width=width)
    assert len(figure.axes) == panels
    assert len(figure.legends) == 1
    assert figure.get_figwidth() == width
    figure.savefig(io.BytesIO(), format="png")
    box = figure.get_tightbbox()
    assert box.x0 > -0.02
    assert box.x1 < width + 0.02
    pd.testing.assert_frame_equal(frame, before)
    for axes in figure.axes:
        assert axes.get_window_extent().height > 0.4 * figure.bbox.height / panels
        assert axes.get_xlabel()
        assert axes.get_ylabel()
        np.testing.assert_array_equal(axes.get_xticks(), np.round(axes.get_xticks()))


def test_both_panels_have_one_scale_and_one_legend() -> None:
    figure = figures.rearrange(table())
    left, right = figure.axes
    assert left.get_ylim() == right.get_ylim()
    assert left.get_legend() is None
    assert right.get_legend() is None
    (legend,) = figure.legends
    names = [text.get_text().split()[0] for text in legend.get_texts()]
    assert names == ["intact", "chance", *MIDDLE]


def test_huge_intervals_do_not_flatten_the_scores() -> None:
    frame = table().assign(score_low=-40.0, score_high=50.0)
    low, high = draw(frame).get_ylim()
    assert low > -1
    assert high < 2
    undefined = table().assign(score_low=np.nan, score_high=np.nan)
    low, high = draw(undefined).get_ylim()
    assert low < 0 < 1 < high


def test_a_table_read_from_a_file_draws_the_same() -> None:
    frame = table()
    text = io.StringIO(frame.to_csv(index=False))
    drawn, again = (lines(draw(one)) for one in (frame, pd.read_csv(text)))
    for name, heights in drawn.items():
        np.testing.assert_allclose(again[name], heights)
