"""Figures show the table's numbers, name their axes with units, and fit a column."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from resanalysis import figures
from resanalysis.experiments.paths import paths, paths_remaining
from resanalysis.figures.inspect import path_tree
from resanalysis.figures.style import FULL, HALF
from resanalysis.statistics.intervals import bootstrap_mean


def lesion_frame(units: int = 27) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    error = np.concatenate([[0.07], 0.07 + rng.exponential(0.05, units)])
    stage = np.concatenate([[-1], np.arange(units) * 3 // units])
    return pd.DataFrame(
        {
            "unit": range(-1, units),
            "stage": stage,
            "transition": [False, False, *(np.diff(stage[1:]) > 0)],
            "error": error,
            "error_low": error - 0.01,
            "error_high": error + 0.015,
            "loss": error * 3,
        }
    )


def many_frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {"removed": k, "draw": d, "error": 0.07 + 0.03 * k + rng.random() / 10, "intact_error": 0.07,
         "transitions_eligible": eligible}
        for k in (1, 2, 3) for d in range(12) for eligible in (True, False)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def reorder_frame() -> pd.DataFrame:
    tau = np.concatenate([[1.0], np.linspace(0.98, 0.5, 40)])
    return pd.DataFrame(
        {"swaps": [0] + [3] * 40, "kendall_tau": tau, "error": 0.07 + (1 - tau) ** 1.5}
    )


def inspect_frame(units: int) -> pd.DataFrame:
    return pd.DataFrame(
        {"unit": range(units), "stage": np.arange(units) * 3 // units, "transition": False,
         "skip": "identity", "bridge": False}
    )  # fmt: skip


DRAWN = {
    "lesion": (figures.lesion, lesion_frame()),
    "lesion_many": (figures.lesion_many, many_frame()),
    "reorder": (figures.reorder, reorder_frame()),
    "paths": (figures.paths, paths(depth=110)),
    "paths_remaining": (figures.paths_remaining, paths_remaining(10)),
    "inspect": (figures.inspect, inspect_frame(27)),
}


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("width", [FULL, HALF])
def test_figures_have_the_width_asked_for_and_cut_nothing(name: str, width: float) -> None:
    draw, frame = DRAWN[name]
    before = frame.copy()
    figure = draw(frame, width=width)
    assert isinstance(figure, Figure)
    assert figure.get_figwidth() == width
    figure.savefig(io.BytesIO(), format="png")
    box = figure.get_tightbbox()
    assert box.x0 > -0.02
    assert box.x1 < width + (0.02 if width == FULL else 0.35)
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("name", [name for name in DRAWN if name != "inspect"])
def test_axes_are_named(name: str) -> None:
    draw, frame = DRAWN[name]
    for axes in draw(frame).axes:
        assert axes.get_xlabel()
        assert axes.get_ylabel()


def test_lesion_shows_every_unit_and_the_intact_error() -> None:
    frame = lesion_frame()
    (axes,) = figures.lesion(frame).axes
    assert axes.get_ylabel() == "Error (fraction)"
    drawn = {}
    for container in axes.containers:
        line = container.lines[0]
        drawn |= dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
    units = frame.iloc[1:]
    assert drawn == pytest.approx(dict(zip(units["unit"], units["error"], strict=True)))
    intact = [line for line in axes.lines if line.get_label() == "intact"]
    assert intact[0].get_ydata()[0] == 0.07
    labels = [container.get_label() for container in axes.containers]
    assert labels == ["unit deleted", "transition deleted"]


def test_lesion_can_show_the_loss() -> None:
    (axes,) = figures.lesion(lesion_frame(), metric="loss").axes
    assert axes.get_ylabel() == "Cross-entropy (nats)"


def test_many_shows_the_means() -> None:
    frame = many_frame()
    (axes,) = figures.lesion_many(frame).axes
    assert len(axes.containers) == 2
    for container, eligible in zip(axes.containers, (True, False), strict=True):
        rows = frame[frame["transitions_eligible"] == eligible]
        expected = rows.groupby("removed")["error"].mean()
        np.testing.assert_allclose(container.lines[0].get_ydata(), expected)


def test_reorder_runs_from_one_downwards() -> None:
    frame = reorder_frame()
    (axes,) = figures.reorder(frame).axes
    left, right = axes.get_xlim()
    assert left > right
    points = axes.collections[0].get_offsets()
    np.testing.assert_allclose(points, frame.iloc[1:][["kendall_tau", "error"]])


def test_paths_show_the_distribution_and_name_the_interval() -> None:
    frame = paths(depth=110)
    left, right = figures.paths(frame).axes
    heights = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in left.patches}
    assert heights == pytest.approx(dict(zip(frame["length"], frame["probability"], strict=True)))
    texts = [text.get_text() for text in left.get_legend().get_texts()]
    assert "lengths 20 to 34: 96.0 % of paths" in texts
    assert right.lines[0].get_ydata()[2] == 0.25


def test_the_tree_has_every_path_once() -> None:
    tree = path_tree(4)
    leaves = [node for node in tree if node[0] == 4]
    assert len(leaves) == 16
    assert sorted(len(taken) for _, taken in leaves) == sorted(
        length for length, count in enumerate([1, 4, 6, 4, 1]) for _ in range(count)
    )


@pytest.mark.parametrize("units", [3, 16, 54])
def test_inspect_draws_any_length(units: int) -> None:
    figure = figures.inspect(inspect_frame(units))
    assert len(figure.axes) == (2 if units <= 5 else 1)
    figure.savefig(io.BytesIO(), format="png")


def test_lesion_bars_are_the_intervals_of_the_metric() -> None:
    frame = lesion_frame().assign(
        loss_low=lambda f: f["loss"] - 0.05, loss_high=lambda f: f["loss"] + 0.1
    )
    for metric in ("error", "loss"):
        (axes,) = figures.lesion(frame, metric=metric).axes
        drawn = {}
        for container in axes.containers:
            for (x, low), (_, high) in container.lines[2][0].get_segments():
                drawn[int(x)] = (low, high)
        for row in frame.iloc[1:].to_dict("records"):
            assert drawn[row["unit"]] == pytest.approx(
                (row[f"{metric}_low"], row[f"{metric}_high"])
            )


def test_without_labels_the_agreement_is_drawn() -> None:
    frame = lesion_frame().assign(
        error=np.nan, error_low=np.nan, error_high=np.nan, loss=np.nan, agreement=0.9
    )
    (axes,) = figures.lesion(frame).axes
    assert axes.get_ylabel() == "Agreement with intact (fraction)"
    for draw, table in ((figures.lesion_many, many_frame()), (figures.reorder, reorder_frame())):
        (axes,) = draw(table.assign(error=np.nan, agreement=0.5)).axes
        assert axes.get_ylabel() == "Agreement with intact (fraction)"
    with pytest.raises(ValueError, match="the table has no measured error; it has agreement"):
        figures.lesion(frame, metric="error")


def test_many_values_of_k_are_drawn_as_bands() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        [
            {"removed": k, "error": k / 60 + 0.1 * rng.random()}
            for k in range(1, 41)
            for _ in range(20)
        ]
    )
    (axes,) = figures.lesion_many(frame).axes
    outer, inner = axes.collections[:2]
    for band, (low, high) in ((outer, (0.05, 0.95)), (inner, (0.25, 0.75))):
        corners = band.get_paths()[0].vertices
        for k in (1, 17, 40):
            values = corners[corners[:, 0] == k, 1]
            draws = frame.loc[frame["removed"] == k, "error"]
            assert values.min() == pytest.approx(draws.quantile(low))
            assert values.max() == pytest.approx(draws.quantile(high))


def test_mean_intervals_over_draws_are_drawn() -> None:
    frame = many_frame()
    (axes,) = figures.lesion_many(frame).axes
    rows = frame[frame["transitions_eligible"] & (frame["removed"] == 2)]
    expected = bootstrap_mean(rows["error"])
    (_, low), (_, high) = axes.containers[0].lines[2][0].get_segments()[1]
    assert (low, high) == pytest.approx(expected[1:])


def test_trend_of_the_orders_needs_ten_of_them() -> None:
    names = [line.get_label() for line in figures.reorder(reorder_frame()).axes[0].lines]
    assert "trend, 95 % band" in names
    few = [line.get_label() for line in figures.reorder(reorder_frame().iloc[:8]).axes[0].lines]
    assert "trend, 95 % band" not in few


@pytest.mark.parametrize("name", ["lesion", "lesion_many", "paths", "paths_remaining"])
@pytest.mark.parametrize("width", [FULL, HALF])
def test_numbers_of_units_have_whole_ticks(name: str, width: float) -> None:
    draw, frame = DRAWN[name]
    for axes in draw(frame, width=width).axes:
        ticks = axes.get_xticks()
        np.testing.assert_array_equal(ticks, np.round(ticks))
