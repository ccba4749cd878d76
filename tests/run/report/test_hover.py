"""Every spot of a figure says the row that was drawn there, or its own place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from resanalysis.experiments import experiment_named
from resanalysis.figures.style import new_figure
from resanalysis.run.report.hover import Spot, spots
from resanalysis.run.report.svg import dark_colours, inline_svg
from resanalysis.run.report.words import short
from tests.figures.frames import effects_frame, shapley_frame
from tests.run.report.folders import lesion_frame


def drawn(stem: str, frame: pd.DataFrame) -> list[Spot]:
    figure = experiment_named(stem).draw({stem: frame})
    inline_svg(figure, stem)
    return spots(figure, {stem: frame})


def test_lesions_are_found_by_unit_and_value() -> None:
    frame = lesion_frame()
    found = drawn("lesion", frame)
    assert len(found) == 12
    for row in frame.loc[frame["unit"] >= 0].to_dict("records"):
        (spot,) = (s for s in found if s.text.startswith(f"unit {row['unit']} "))
        value = f"{100 * row['delta']:+.2f} points".replace("-", "−")
        assert f"change of error {value}" in spot.text


def test_places_grow_with_what_is_drawn() -> None:
    found = sorted(drawn("lesion", lesion_frame()), key=lambda spot: spot.x)
    units = [int(spot.text.split()[1]) for spot in found]
    assert units == list(range(12))
    highest = min(found, key=lambda spot: spot.y)
    assert highest.text.startswith("unit 4 ")


def test_cells_of_a_map_are_their_rows() -> None:
    frame = effects_frame(6)
    cells = [
        s for s in drawn("effects", frame) if "; skipped" in s.text and "mean change" in s.text
    ]
    inside = frame.loc[(frame["name"] != "output") & frame["change_mean"].notna()]
    assert inside["change_mean"].max() < 1  # where the map is not cut off
    wanted = {
        (f"unit {row['unit']} · {row['name']}", short(float(row["change_mean"])))
        for row in inside.to_dict("records")
    }
    found = {
        (s.text.partition(";")[0], s.text.split("mean change ")[1].split("\n")[0]) for s in cells
    }
    assert wanted <= found


@pytest.mark.parametrize("frame", [shapley_frame(9)])
def test_bars_are_found_too(frame: pd.DataFrame) -> None:
    assert any(spot.text.startswith("unit 3") for spot in drawn("shapley", frame))


def test_what_is_no_row_says_its_place() -> None:
    figure, (ax,) = new_figure()
    ax.plot([1, 2], [3.5, 4.5], label="median")
    ax.set_xlabel("Units")
    ax.set_ylabel("Error")
    inline_svg(figure, "x")
    table = pd.DataFrame({"unit": [7, 8], "error": [0.1, 0.2]})
    assert [spot.text for spot in spots(figure, {"x": table})] == [
        "median\nUnits 1\nError 3.5",
        "median\nUnits 2\nError 4.5",
    ]


def test_rows_that_share_a_place_say_what_they_share() -> None:
    figure, (ax,) = new_figure()
    ax.plot([1, 2], [0.3, 0.4])
    inline_svg(figure, "x")
    table = pd.DataFrame(
        {"removed": [1, 1, 2, 2], "draw": [0, 1, 0, 1], "mean_error": [0.3, 0.3, 0.4, 0.4]}
    )
    texts = [spot.text for spot in spots(figure, {"x": table})]
    assert texts == ["removed 1\nmean error 30.00 %", "removed 2\nmean error 40.00 %"]


def test_maps_keep_their_colours_and_the_rest_follows_the_theme() -> None:
    figure, (ax,) = new_figure()
    ax.pcolormesh(np.array([[0.0, 1.0]]), cmap="viridis")
    ax.plot([0, 1], [0, 1], "o", color="#ffffff")
    text = inline_svg(figure, "x")
    assert "#440154" in text
    assert "--c440154" not in text
    figure, (ax,) = new_figure()
    ax.plot([0, 1], color="#0173b2")
    assert "var(--c0173b2,#0173b2)" in inline_svg(figure, "x")


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colour", ["0173b2", "de8f05", "029e73", "d55e00", "222222", "000000"])
def test_colours_are_seen_on_a_dark_ground(colour: str) -> None:
    found: Any = dark_colours(f"var(--c{colour},#{colour})")
    assert contrast(found[colour], "#14171a") > 4.5
