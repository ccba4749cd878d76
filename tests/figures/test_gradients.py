"""The figures of gradients by length and by unit show the tables' numbers and name their axes."""

from __future__ import annotations

import io
from math import comb

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from resanalysis import figures
from resanalysis.figures.style import FULL, HALF
from resanalysis.figures.tables.gradients import draw, draw_counts, draw_totals
from resanalysis.figures.tables.unit_share import draw as draw_map
from resanalysis.figures.tables.unit_share import draw_units

N = 27


@pytest.fixture
def table() -> pd.DataFrame:
    length = np.arange(N + 1)
    count = [comb(N, k) for k in length]
    mean = 1e-4 * 0.3**length
    upper = np.array(count) * mean
    share = upper**1.2 / (upper**1.2).sum()
    return pd.DataFrame(
        {
            "length": length,
            "count": pd.Series(count, dtype=object),
            "mean_norm": mean,
            "mean_norm_low": 0.8 * mean,
            "mean_norm_high": 1.3 * mean,
            "rms_norm": 2 * mean,
            "rms_norm_low": 1.7 * mean,
            "rms_norm_high": 2.4 * mean,
            "total_upper": upper,
            "sum_norm": upper / 40,
            "signed_share": share,
            "signed_share_low": share - 0.01,
            "signed_share_high": share + 0.01,
            "upper_share": upper / upper.sum(),
        }
    )


@pytest.fixture
def units() -> pd.DataFrame:
    rows = [
        {"unit": u, "stage": u // 3, "transition": u in (3, 6), "length": k, "name": f"u{u}",
         "share": (1 + u) * np.exp(-((k - 4) ** 2))}
        for u in range(9) for k in range(10)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def lines(ax: object) -> dict[str, np.ndarray]:
    return {line.get_label(): line.get_ydata() for line in ax.get_lines()}  # type: ignore[attr-defined]


def test_norms_are_the_tables_on_a_log_axis(table: pd.DataFrame) -> None:
    ax = draw(table)
    assert ax.get_yscale() == "log"
    drawn = lines(ax)
    assert np.allclose(drawn["mean (band: over paths)"], table["mean_norm"])
    assert np.allclose(drawn["RMS (band: over signs)"], table["rms_norm"])
    count = table["count"].astype(float)
    assert np.allclose(drawn["‖exact sum‖ / count"], table["sum_norm"] / count)
    band = ax.collections[0].get_paths()[0].vertices[:, 1]  # type: ignore[index]
    assert band.min() == pytest.approx(table["mean_norm_low"].min())
    assert band.max() == pytest.approx(table["mean_norm_high"].max())
    assert ax.get_ylabel() == "Gradient norm\n(nats per unit of input)"  # not only of single paths
    assert "units" in ax.get_xlabel()


def test_counts_are_the_tables(table: pd.DataFrame) -> None:
    ax = draw_counts(table)
    heights = {round(bar.get_x() + 0.45): bar.get_height() for bar in ax.patches}  # type: ignore[attr-defined]
    assert [heights[k] * 1e7 for k in range(N + 1)] == pytest.approx(list(table["count"]))
    assert "10^{7}" in ax.get_ylabel()
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["95 %: 8–18"]


def test_totals_are_shares_with_their_effective_lengths(table: pd.DataFrame) -> None:
    ax = draw_totals(table)
    drawn = lines(ax)
    upper = next(label for label in drawn if label.startswith("count × mean: "))
    exact = next(label for label in drawn if label.startswith("exact sum: "))
    assert np.allclose(drawn[upper], table["upper_share"])
    assert np.allclose(drawn[exact], table["signed_share"])
    low, high = (int(word) for word in exact.split(": ")[1].split("–"))
    assert table["signed_share"][low : high + 1].sum() >= 0.95
    assert table["signed_share"][low + 1 : high + 1].sum() < 0.95
    assert table["signed_share"][low:high].sum() < 0.95


def test_what_was_not_measured_is_not_drawn(table: pd.DataFrame) -> None:
    table[["mean_norm", "mean_norm_low", "mean_norm_high", "upper_share", "rms_norm"]] = np.nan
    assert list(lines(draw(table))) == ["‖exact sum‖ / count"]
    table.attrs["at"] = "first-unit"
    assert draw(table).get_ylabel() == "Norm of sum / count\n(nats per unit of stream)"
    assert not any("count × mean" in label for label in lines(draw_totals(table)))
    short = table[table["length"] <= 3].assign(signed_share=[0.0, 0.01, 0.02, 0.03])
    assert "exact sum" in lines(draw_totals(short))  # no effective lengths of a part
    assert draw_counts(short).get_legend() is None


@pytest.mark.parametrize("width", [FULL, HALF])
def test_figures_fit_a_column_and_leave_the_table_alone(
    table: pd.DataFrame, units: pd.DataFrame, width: float
) -> None:
    before, before_units = table.copy(), units.copy()
    for figure in (figures.gradients(table, width=width), figures.unit_share(units, width=width)):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        frame = figure.get_tightbbox(canvas.get_renderer())
        assert figure.get_figwidth() == width
        assert frame.x0 > -0.02
        assert frame.x1 < width + 0.02
    pd.testing.assert_frame_equal(table, before)
    pd.testing.assert_frame_equal(units, before_units)


def test_a_table_read_back_from_a_file_draws_the_same(table: pd.DataFrame) -> None:
    text = io.StringIO(table.to_csv(index=False))
    again = lines(draw_totals(pd.read_csv(text)))
    for label, values in lines(draw_totals(table)).items():
        assert np.allclose(again[label], values)


def test_the_heat_map_is_the_tables(units: pd.DataFrame) -> None:
    ax = draw_map(units)
    mesh = ax.collections[0]
    wanted = units.pivot_table(index="unit", columns="length", values="share").to_numpy()
    found = np.asarray(mesh.get_array()).reshape(9, -1)
    assert np.allclose(found, wanted[:, : found.shape[1]])
    assert found.shape[1] == 7  # beyond length 6 nothing reaches a thousandth
    assert mesh.get_clim()[0] == 0
    units.loc[units["unit"] == 2, "share"] *= -1
    signed = draw_map(units).collections[0]
    white = signed.get_cmap()(signed.norm(0.0))[:3]  # type: ignore[misc]
    assert min(white) > 0.93
    assert signed.get_cmap()(signed.norm(-1.0))[:3] != signed.get_cmap()(signed.norm(1.0))[:3]  # type: ignore[misc]


def test_bars_of_the_totals_are_their_intervals(units: pd.DataFrame) -> None:
    total = units.groupby("unit")["share"].transform("sum")
    ax = draw_units(units.assign(total_low=total - 1, total_high=total + 2))
    (bars,) = ax.collections
    ends = np.array([path.vertices[:, 0] for path in bars.get_paths()])
    sums = units.groupby("unit")["share"].sum()
    np.testing.assert_allclose(ends, np.stack([sums - 1, sums + 2], axis=1))
    assert not draw_units(units).collections


def test_unit_totals_are_the_tables_with_transitions_marked(units: pd.DataFrame) -> None:
    ax = draw_units(units)
    widths = {round(bar.get_y() + 0.4): bar for bar in ax.patches}  # type: ignore[attr-defined]
    total = units.groupby("unit")["share"].sum()
    assert [widths[u].get_width() for u in range(9)] == pytest.approx(list(total))
    colours = [widths[u].get_facecolor() for u in range(9)]
    assert colours[3] == colours[6] != colours[0] == colours[8]
