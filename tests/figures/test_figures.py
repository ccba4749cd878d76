"""Figures show the table's numbers, name their axes with units, and fit a column."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resanalysis import figures
from resanalysis.experiments.paths import paths, paths_remaining
from resanalysis.figures.style import FULL, HALF, one_axes
from resanalysis.figures.tables.inspect import path_tree


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
            "delta": error - 0.07,
            "delta_low": error - 0.08,
            "delta_high": error - 0.055,
            "p_holm": np.where(error > 0.12, 0.001, 0.5),
            "chance_error": 0.9,
        }
    )


def many_frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {"removed": k, "draw": d, "error": 0.07 + 0.03 * k + rng.random() / 10, "intact_error": 0.07,
         "transitions_eligible": eligible}
        for k in (1, 2, 3) for d in range(12) for eligible in (True, False)
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    means = frame.groupby(["removed", "transitions_eligible"])["error"].transform("mean")
    return frame.assign(mean_error=means, mean_error_low=means - 0.03, mean_error_high=means + 0.04)


def reorder_frame() -> pd.DataFrame:
    tau = np.concatenate([[1.0], np.linspace(0.98, 0.5, 40)])
    first = np.arange(41) % 2 == 1
    frame = pd.DataFrame(
        {"swaps": [0] + [3] * 40, "kendall_tau": tau, "error": 0.07 + (1 - tau) ** 1.5 + 0.2 * first,
         "first_moved": first, "tau_bin": np.ceil(tau * 10) / 10}
    )  # fmt: skip
    means = frame.groupby(["tau_bin", "first_moved"])["error"].transform("mean")
    return frame.assign(mean_error=means, mean_error_low=means - 0.03, mean_error_high=means + 0.04)


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


def drawn_points(axes: Axes) -> dict[float, tuple[float, float, float]]:
    """Every point with the ends of its bar, by its place."""
    found = {}
    for container in axes.containers:
        line, _, (bars,) = container.lines
        for x, y, ((_, low), (_, high)) in zip(
            line.get_xdata(), line.get_ydata(), bars.get_segments(), strict=True
        ):
            found[float(x)] = (float(y), float(low), float(high))
    return found


def test_lesion_draws_paired_differences_and_fills_what_is_significant() -> None:
    frame = lesion_frame()
    (axes,) = figures.lesion(frame).axes
    assert axes.get_ylabel() == "Change of error (fraction)"
    units = frame.iloc[1:]
    assert drawn_points(axes) == {
        row["unit"]: pytest.approx((row["delta"], row["delta_low"], row["delta_high"]))
        for row in units.to_dict("records")
    }
    filled = set()
    for container in axes.containers:
        line = container.lines[0]
        if line.get_markerfacecolor() != "white":
            filled |= set(line.get_xdata())
    assert filled == set(units.loc[units["p_holm"] < 0.05, "unit"])
    assert 0 < len(filled) < len(units)
    names = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert names == ["intact: 0.07", "hollow: n.s. (Holm)", "unit deleted", "transition deleted"]


def test_chance_is_drawn_where_the_error_comes_near_it() -> None:
    for draw, frame in ((figures.lesion, lesion_frame()), (figures.lesion_many, many_frame()),
                        (figures.reorder, reorder_frame())):  # fmt: skip
        frame = frame.assign(chance_error=0.9)
        lines = [line.get_label() for line in draw(frame).axes[0].lines]
        assert "chance" not in lines
        high = frame.assign(delta=0.78) if draw is figures.lesion else frame.assign(error=0.85)
        chance = [line for line in draw(high).axes[0].lines if line.get_label() == "chance"]
        assert chance[0].get_ydata()[0] == pytest.approx(0.83 if draw is figures.lesion else 0.9)


def test_a_notebook_shows_a_figure_whoever_made_it() -> None:
    """IPython asks for this method; without pyplot nothing else would tell it how to draw a figure."""
    picture = figures.lesion(lesion_frame())._repr_png_()  # type: ignore[attr-defined]
    assert picture.startswith(b"\x89PNG")
    assert int.from_bytes(picture[16:20], "big") == pytest.approx(FULL * 130, abs=1)


def test_lesion_can_show_the_loss() -> None:
    (axes,) = figures.lesion(lesion_frame(), metric="loss").axes
    assert axes.get_ylabel() == "Cross-entropy (nats)"


def test_every_protocol_has_a_panel_with_its_means() -> None:
    frame = many_frame()
    panels = figures.lesion_many(frame).axes
    assert [ax.get_title() for ax in panels] == ["transitions may go", "transitions stay"]
    assert panels[0].get_ylim() == panels[1].get_ylim()
    for axes, eligible in zip(panels, (True, False), strict=True):
        rows = frame[frame["transitions_eligible"] == eligible].groupby("removed").first()
        expected = {
            float(k): pytest.approx((row.mean_error, row.mean_error_low, row.mean_error_high))
            for k, row in rows.iterrows()
        }
        assert drawn_points(axes) == expected


def test_reorder_runs_from_one_downwards_and_is_coloured_by_what_moved() -> None:
    frame = reorder_frame()
    axes, in_place = figures.reorder(frame).axes
    left, right = axes.get_xlim()
    assert left > right
    dots = [points for points in axes.collections if len(points.get_offsets())]
    moved, stayed = (
        points.get_offsets() for points in dots if points.get_label().startswith("first")
    )
    orders = frame.iloc[1:]
    for drawn, flag in ((moved, True), (stayed, False)):
        rows = orders[orders["first_moved"] == flag]
        np.testing.assert_allclose(drawn, rows[["kendall_tau", "error"]])
    assert in_place.get_title() == "first unit in place"
    only = [p for p in in_place.collections if p.get_label().startswith("first")]
    assert [p.get_label() for p in only] == ["first unit in place"]
    np.testing.assert_allclose(only[0].get_offsets(), stayed)


def test_reorder_draws_one_statistic_the_means_of_bins() -> None:
    frame = reorder_frame().iloc[1:]
    axes = figures.reorder(frame).axes[0]
    for container, flag in zip(axes.containers, (True, False), strict=True):
        rows = frame[frame["first_moved"] == flag].groupby("tau_bin")
        np.testing.assert_allclose(container.lines[0].get_ydata(), rows["mean_error"].first())
        np.testing.assert_allclose(container.lines[0].get_xdata(), rows["kendall_tau"].mean())


def test_a_run_that_held_the_first_unit_has_the_second_panel() -> None:
    frame = reorder_frame()
    held = frame.assign(first_moved=False, error=0.3)
    _, second = figures.reorder(frame, held=held).axes
    only = [p for p in second.collections if p.get_label().startswith("first")]
    assert {float(y) for _, y in only[0].get_offsets()} == {0.3}
    with pytest.raises(ValueError, match="the table of held orders moves the first unit"):
        figures.reorder(frame, held=frame)
    assert len(figures.reorder(held).axes) == 1


@pytest.mark.parametrize("name", ["lesion", "lesion_many", "reorder"])
@pytest.mark.parametrize("width", [2.7, 5.5, 7.0])
def test_figures_fit_a_page(name: str, width: float) -> None:
    draw, frame = DRAWN[name]
    figure = draw(frame, width=width)
    assert figure.get_figwidth() == width
    assert figure.get_figheight() <= 9
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert legend.x1 <= figure.bbox.x1
    assert not any(legend.overlaps(ax.get_window_extent()) for ax in figure.axes)


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


def test_a_metric_without_a_paired_difference_has_its_own_interval() -> None:
    frame = lesion_frame().assign(
        loss_low=lambda f: f["loss"] - 0.05, loss_high=lambda f: f["loss"] + 0.1
    )
    (axes,) = figures.lesion(frame, metric="loss").axes
    assert drawn_points(axes) == {
        row["unit"]: pytest.approx((row["loss"], row["loss_low"], row["loss_high"]))
        for row in frame.iloc[1:].to_dict("records")
    }


def test_without_labels_the_agreement_is_drawn() -> None:
    frame = lesion_frame().assign(
        error=np.nan, error_low=np.nan, error_high=np.nan, delta=np.nan, loss=np.nan, agreement=0.9
    )
    (axes,) = figures.lesion(frame).axes
    assert axes.get_ylabel() == "Agreement with intact (fraction)"
    for draw, table in ((figures.lesion_many, many_frame()), (figures.reorder, reorder_frame())):
        axes = draw(table.assign(error=np.nan, agreement=0.5)).axes[0]
        assert axes.get_ylabel() == "Agreement with intact (fraction)"
    with pytest.raises(ValueError, match="the table has no measured error; it has agreement"):
        figures.lesion(frame, metric="error")


def test_draws_are_bands() -> None:
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


@pytest.mark.parametrize("name", ["lesion", "lesion_many", "paths", "paths_remaining"])
@pytest.mark.parametrize("width", [FULL, HALF])
def test_numbers_of_units_have_whole_ticks(name: str, width: float) -> None:
    draw, frame = DRAWN[name]
    for axes in draw(frame, width=width).axes:
        ticks = axes.get_xticks()
        np.testing.assert_array_equal(ticks, np.round(ticks))


def test_dollar_signs_in_names_are_no_formula() -> None:
    ax = one_axes()
    ax.plot([1, 2], [1e-3, 1e4], label="$^_$")
    ax.set_yscale("log")
    ax.set_xticks([1, 2], ["$\\frac$", "US$"])
    ax.set_xlabel("($10^{3}$)")
    legend = ax.legend()
    figure = ax.figure
    assert isinstance(figure, Figure)
    figure.savefig(io.BytesIO(), format="png")  # as formulas the first two end in an error
    assert not legend.get_texts()[0].get_parse_math()
    assert [label.get_parse_math() for label in ax.get_xticklabels()] == [False, False]
    assert ax.xaxis.label.get_parse_math()
    powers = [label for label in ax.get_yticklabels() if label.get_text()]
    assert powers
    assert all(label.get_parse_math() for label in powers)
