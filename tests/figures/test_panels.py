"""Every figure at every width, whole and panel by panel: it fits the page, and refuses what it has not."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from math import comb
from typing import Any

import numpy as np
import pandas as pd
import pytest
import seaborn as sns
from matplotlib.figure import Figure

from resanalysis import figures
from resanalysis.errors import ResanalysisError
from resanalysis.figures.style import FULL, HALF, PAGE, PALETTE, TALLEST, letters
from tests.figures.frames import (
    borderline_frame,
    chain_frame,
    classes_frame,
    damage_frame,
    effects_frame,
    history_frame,
    refinement_frame,
    response_frame,
    spans_frame,
    stream_frame,
)
from tests.figures.test_prune import table as prune_frame
from tests.figures.test_rearrange import table as rearrange_frame

SPANS = {"spans": spans_frame(), "damage": damage_frame()}


def paths_frame() -> pd.DataFrame:
    counts = [comb(27, k) for k in range(28)]
    return pd.DataFrame(
        {"length": range(28), "count": counts, "probability": np.array(counts) / 2**27}
    )


def gradients_frame() -> pd.DataFrame:
    frame = paths_frame()
    for name in ("mean_norm", "rms_norm", "signed_share", "upper_share"):
        for end in ("", "_low", "_high"):
            frame[name + end] = 0.5 ** frame["length"]
    return frame.assign(sum_norm=frame["mean_norm"] * frame["count"] / 9)


def unit_share_frame() -> pd.DataFrame:
    rows = [
        {"unit": u, "stage": u // 3, "transition": u == 3, "length": k, "share": u + k, "name": "u",
         "total_low": 1.0, "total_high": 2.0}
        for u in range(9) for k in range(10)
    ]  # fmt: skip
    return pd.DataFrame(rows)


DRAWN: dict[str, tuple[Callable[..., Figure], pd.DataFrame, dict[str, Any], str]] = {
    "inspect": (figures.inspect, chain_frame(27), {}, ""),
    "inspect of few": (figures.inspect, chain_frame(4), {}, "ab"),
    "lesion_classes": (figures.lesion_classes, classes_frame(), {}, ""),
    "lesion_classes of many": (figures.lesion_classes, classes_frame(200, 9), {}, ""),
    "lesion_borderline": (figures.lesion_borderline, borderline_frame(), {}, ""),
    "lesion_borderline without": (figures.lesion_borderline, borderline_frame(pictures=0), {}, ""),
    "paths": (figures.paths, paths_frame(), {}, "ab"),
    "gradients": (figures.gradients, gradients_frame(), {}, "abc"),
    "unit_share": (figures.unit_share, unit_share_frame(), {}, "ab"),
    "response": (figures.response, response_frame(), {}, "ab"),
    "stream": (figures.stream, stream_frame(), SPANS, "abcdefgh"),
    "rearrange": (figures.rearrange, rearrange_frame(), {}, "ab"),
    "prune": (figures.prune, prune_frame(), {}, "ab"),
    "effects": (figures.effects, effects_frame(), {}, "ab"),
    "refinement": (figures.refinement, refinement_frame(), {}, "ab"),
    "history": (figures.history, history_frame(), {}, ""),
}


def drawn_inside(figure: Figure, width: float) -> bool:
    """Whether nothing is cut off at the figure's edges."""
    figure.savefig(io.BytesIO(), format="png", dpi=60)
    box = figure.get_tightbbox()
    return box.x0 > -0.05 and box.x1 < width + 0.05 and box.y0 > -0.05


@pytest.mark.parametrize(
    "width", [HALF, FULL, pytest.param(PAGE, marks=[pytest.mark.slow, pytest.mark.nightly])]
)
@pytest.mark.parametrize("name", DRAWN)
def test_it_fits_the_page(name: str, width: float) -> None:
    draw, frame, more, panels = DRAWN[name]
    figure = draw(frame, width=width, **more)
    assert letters(figure) == list(panels)
    assert figure.get_figwidth() == width
    assert figure.get_figheight() <= TALLEST
    assert drawn_inside(figure, width)


@pytest.mark.parametrize("name", DRAWN)
def test_each_panel_can_be_drawn_alone(name: str) -> None:
    draw, frame, more, panels = DRAWN[name]
    whole = draw(frame, **more)
    named = {str(ax.get_label()): ax for ax in whole.axes}
    for letter in panels:
        figure = draw(frame, width=HALF, panel=letter, **more)
        assert letters(figure) == []
        first = figure.axes[0]
        assert first.get_xlabel() == named[letter].get_xlabel()
        assert first.get_ylabel() == named[letter].get_ylabel()
        assert [len(line.get_xdata()) for line in first.lines] == [
            len(line.get_xdata()) for line in named[letter].lines
        ]
        assert drawn_inside(figure, HALF)
    assert len(draw(frame, panel="a", **more).axes) >= 1


@pytest.mark.parametrize("name", DRAWN)
def test_a_panel_that_is_not_there_is_refused(name: str) -> None:
    draw, frame, more, panels = DRAWN[name]
    has = f"panels a to {panels[-1]}" if panels else "panel a only"
    for panel in ("z", "ab", ""):
        with pytest.raises(ResanalysisError, match=f"has no panel '{panel}': it has {has}$"):
            draw(frame, panel=panel, **more)


@pytest.mark.parametrize("name", DRAWN)
def test_a_width_of_no_page_is_refused(name: str) -> None:
    draw, frame, more, _ = DRAWN[name]
    with pytest.raises(ResanalysisError, match=r"a figure 0\.5 in wide: widths go from 2 to 12 in"):
        draw(frame, width=0.5, **more)


@pytest.mark.parametrize(
    ("units", "width"),
    [
        (61, HALF),
        (61, FULL),
        (61, PAGE),
        (300, FULL),
        *(
            pytest.param(1000, width, marks=[pytest.mark.slow, pytest.mark.nightly])
            for width in (HALF, FULL, PAGE)
        ),
    ],
)
def test_no_chain_is_higher_than_a_page(units: int, width: float) -> None:
    assert figures.inspect(chain_frame(units), width=width).get_figheight() <= TALLEST


def test_a_plain_chain_says_that_it_has_one_path() -> None:
    (axes,) = figures.inspect(chain_frame(4).assign(skip="none")).axes
    assert axes.get_title() == "4 layers, one path"
    assert figures.inspect(chain_frame(9)).axes[0].get_title() == "9 units, $2^{9}$ paths"


def test_chance_is_drawn_where_errors_come_near_it() -> None:
    frame = prune_frame()
    for chance, error, expected in ((0.1, 0.85, True), (0.1, 0.2, False), (None, 0.85, False)):
        table = frame.assign(error=frame["error"].clip(upper=error))
        table.attrs["chance"] = chance
        lines = {str(line.get_label()): line for line in figures.prune(table).axes[0].lines}
        assert ("chance" in lines) == expected
        if expected:
            assert lines["chance"].get_ydata()[0] == 0.9


def test_runs_of_a_history_are_lines_of_their_own() -> None:
    frame = history_frame()
    (axes,) = figures.history(frame).axes
    drawn = {str(line.get_label()): line.get_ydata() for line in axes.lines}
    for run, rows in frame.groupby("run"):
        np.testing.assert_array_equal(drawn[f"{run}, test"], rows["test_error"])
        np.testing.assert_array_equal(drawn[f"{run}, training"], rows["train_error"])
    (alone,) = figures.history(frame.query("run == 'a'").drop(columns="run")).axes
    assert [str(line.get_label()) for line in alone.lines] == ["training", "test"]


def test_the_palette_is_seaborns() -> None:
    assert list(PALETTE) == sns.color_palette("colorblind").as_hex()


def test_words_need_no_drawing() -> None:
    """Of the modules here; the package itself imports every figure."""
    code = (
        "import sys, types; package = types.ModuleType('resanalysis.figures');"
        "import resanalysis; package.__path__ = [resanalysis.__path__[0] + '/figures'];"
        "sys.modules['resanalysis.figures'] = package;"
        "from resanalysis.figures.tables import gradients, inspect, paths, stream, response, prune, rearrange;"
        "from resanalysis.figures.tables import unit_share, history;"
        "found = {'seaborn', 'matplotlib.figure', 'networkx', 'scipy', 'pandas', 'torch'} & set(sys.modules);"
        "sys.exit(str(found) if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
