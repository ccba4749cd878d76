"""The figure of pruning shows the table's errors by order, the spread of random ones, and speed-ups."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from resanalysis import figures
from resanalysis.figures.style import FULL, HALF
from resanalysis.figures.tables.prune import draw, draw_speed, headlines

CHEAP = ("lesion", "influence", "ratio", "branch_norm", "cosine")
UNITS = 12


def table(orders: tuple[str, ...] = ("greedy", *CHEAP), draws: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [{"order": "intact", "draw": 0, "removed": 0, "error": 0.05, "flops_ratio": 1.0}]
    for place, order in enumerate((*orders, *["random"] * draws)):
        draw = max(0, place - len(orders))
        rows += [
            {"order": order, "draw": draw, "removed": k, "flops_ratio": UNITS * 2 / (UNITS * 2 - k),
             "error": 0.05 + 0.8 * (k / UNITS) ** (3 - 0.4 * place if order != "random" else 0.7)
             + 0.05 * rng.random()}
            for k in range(1, UNITS + 1)
        ]  # fmt: skip
    frame = pd.DataFrame(rows)
    frame = frame.assign(error_low=frame["error"] - 0.03, error_high=frame["error"] + 0.05)
    timed = (frame["order"] == "greedy") & frame["removed"].isin([1, 4, 8, 12])
    speed = np.where(timed, 0.95 * frame["flops_ratio"], np.nan)
    return frame.assign(speedup=speed, speedup_low=speed - 0.04, speedup_high=speed + 0.06)


def lines(axes: Axes) -> dict[str, np.ndarray]:
    return {str(line.get_label()): np.asarray(line.get_ydata()) for line in axes.lines}


def test_each_order_is_a_line_from_the_intact_network() -> None:
    frame = table()
    axes = draw(frame)
    drawn = lines(axes)
    assert drawn["intact"].tolist() == [0.05, 0.05]
    for order in ("greedy", *CHEAP):
        expected = frame.loc[frame["order"] == order, "error"]
        np.testing.assert_allclose(drawn[order.replace("_", " ")], [0.05, *expected])
    assert axes.get_xlabel() == "Units removed"
    assert axes.get_ylabel() == "Error (fraction)"
    looks = {(line.get_color(), line.get_linestyle(), line.get_linewidth()) for line in axes.lines}
    assert len(looks) == len(axes.lines)
    widths = {str(line.get_label()): line.get_linewidth() for line in axes.lines}
    assert widths.pop("greedy") > 1.5 * max(widths.values())


def test_joint_orders_spans_and_measures_taken_anew_are_lines_too() -> None:
    orders = ("greedy", "influence", "iterative_influence", "interactions", "span", "span_distance")
    frame = table(orders)
    frame = frame.loc[~((frame["order"] == "span") & (frame["removed"] > 5))]
    axes = draw(frame)
    drawn = lines(axes)
    for order in orders:
        expected = frame.loc[frame["order"] == order, "error"]
        np.testing.assert_allclose(drawn[order.replace("_", " ")], [0.05, *expected])
    # Of dashes of one's own, get_linestyle says no more than that there are some.
    looks = {(line.get_color(), str(line._dash_pattern), line.get_marker()) for line in axes.lines}  # type: ignore[attr-defined]
    assert len(looks) == len(axes.lines)
    said = dict(headlines(frame))
    assert said["span instead of greedy"].endswith("mean over 1 to 5 removed")
    assert said["influence instead of greedy"].endswith("mean over 1 to 12 removed")
    figures.prune(frame, width=HALF).savefig(io.BytesIO(), format="png")


def test_random_orders_are_a_median_and_their_range() -> None:
    frame = table(draws=5)
    axes = draw(frame)
    by_size = frame.loc[frame["order"] == "random"].groupby("removed")["error"]
    np.testing.assert_allclose(lines(axes)["random (range of 5)"], [0.05, *by_size.median()])
    bands = [shape for shape in axes.collections if isinstance(shape, PolyCollection)]
    corners = bands[0].get_paths()[0].vertices
    for size in (1, 6, 12):
        values = corners[corners[:, 0] == size, 1]
        errors = by_size.get_group(size)
        assert (values.min(), values.max()) == pytest.approx((errors.min(), errors.max()))
    corners = bands[1].get_paths()[0].vertices
    row = frame[(frame["order"] == "greedy") & (frame["removed"] == 6)].iloc[0]
    values = corners[corners[:, 0] == 6, 1]
    assert (values.min(), values.max()) == pytest.approx((row["error_low"], row["error_high"]))
    assert "random" in lines(draw(table(draws=1)))


def test_speed_ups_are_points_with_bars_beside_the_operations() -> None:
    frame = table()
    axes = draw_speed(frame)
    (points,) = axes.containers
    assert points.lines[0].get_xdata().tolist() == [1, 4, 8, 12]
    timed = frame[frame["speedup"].notna()]
    np.testing.assert_allclose(points.lines[0].get_ydata(), timed["speedup"])
    ends = [(low, high) for (_, low), (_, high) in points.lines[2][0].get_segments()]
    np.testing.assert_allclose(ends, timed[["speedup_low", "speedup_high"]])
    greedy = frame[frame["order"].isin(["intact", "greedy"])]
    np.testing.assert_allclose(lines(axes)["by operations"], greedy["flops_ratio"])
    assert axes.get_ylabel() == "Speed-up (×)"


@pytest.mark.parametrize("width", [FULL, HALF])
@pytest.mark.parametrize("timed", [True, False])
def test_it_fits_a_column(width: float, timed: bool) -> None:
    frame = table()
    if not timed:
        frame = frame.assign(speedup=np.nan)
    before = frame.copy()
    figure = figures.prune(frame, width=width)
    assert len(figure.axes) == 1 + timed
    assert figure.get_figwidth() == width
    figure.savefig(io.BytesIO(), format="png")
    box = figure.get_tightbbox()
    assert box.x0 > -0.02
    assert box.x1 < width + 0.02
    pd.testing.assert_frame_equal(frame, before)
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names[:2] == ["intact", "greedy"]
    assert (names[-1] == "by operations") == timed
    for axes in figure.axes:
        assert axes.get_legend() is None
        assert axes.get_window_extent().height > 0.4 * figure.bbox.height / (1 + timed)
        np.testing.assert_array_equal(axes.get_xticks(), np.round(axes.get_xticks()))


def test_without_labels_it_is_the_agreement() -> None:
    frame = table(("influence",), draws=1).assign(error=np.nan)
    frame["agreement"] = 1 - frame["removed"] / 20
    axes = draw(frame)
    assert axes.get_ylabel() == "Agreement with intact (fraction)"
    np.testing.assert_allclose(lines(axes)["influence"], 1 - np.arange(13) / 20)
    with pytest.raises(ValueError, match="the table has no measured loss; it has agreement"):
        figures.prune(frame, metric="loss")


def test_a_table_read_from_a_file_draws_the_same() -> None:
    frame = table()
    again = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    drawn, from_file = lines(draw(frame)), lines(draw(again))
    assert set(drawn) == set(from_file)
    for name, heights in drawn.items():
        np.testing.assert_allclose(from_file[name], heights)
