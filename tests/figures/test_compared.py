"""Models side by side: a gap and a cross where nothing could be deleted, chance where a curve comes near it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from resanalysis.figures.compared import compared
from resanalysis.figures.recalibrated import recalibrated
from resanalysis.statistics.pooling import curves, pooled


def table(worst: float) -> pd.DataFrame:
    vgg = [0.1, np.nan, worst, 0.3]
    frame = pd.DataFrame({"unit": [-1, 0, 1, 2] * 2, "error": [*vgg, 0.1, 0.2, 0.2, 0.1]})
    frame["error_low"], frame["error_high"] = frame["error"] - 0.02, frame["error"] + 0.02
    return frame.assign(model=["vgg"] * 4 + ["resnet"] * 4)


def test_a_layer_that_cannot_be_deleted_is_a_gap_with_a_cross() -> None:
    lines = curves(table(0.85), "unit", "error")
    assert list(lines["model"].unique()) == ["vgg", "resnet"]  # as given, not by the alphabet
    (ax,) = compared(lines, x="unit", y="error", chance=0.9).axes
    vgg, crosses = (
        next(line for line in ax.lines if line.get_label() == label)
        for label in ("vgg", "cannot be deleted alone")
    )
    assert np.isnan(np.asarray(vgg.get_ydata(), float)).tolist() == [True, False, False]
    assert np.asarray(crosses.get_xdata()).tolist() == [0]


def test_every_model_looks_its_own_way() -> None:
    """The sixth of several had the first one's colour and marker."""
    one = table(0.4).query("model == 'resnet'")
    several = pd.concat([one.assign(model=f"seed {number}") for number in range(12)])
    (ax,) = compared(curves(several, "unit", "error"), x="unit", y="error").axes
    looks = [
        (line.get_color(), line.get_marker())
        for line in ax.lines
        if str(line.get_label()).startswith("seed")
    ]
    assert len(looks) == len(set(looks)) == 12


def test_chance_is_drawn_where_a_curve_comes_near_it_and_only_there() -> None:
    for worst, drawn in ((0.85, True), (0.4, False)):
        (ax,) = compared(
            curves(table(worst), "unit", "error"), x="unit", y="error", chance=0.9
        ).axes
        assert ("chance" in [line.get_label() for line in ax.lines]) == drawn


def test_statistics_estimated_anew_are_drawn_hollow_beside() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"unit": [*range(-1, 4)] * 2, "model": ["one"] * 5 + ["two"] * 5})
    for name in ("error", "error_recalibrated"):
        frame[name] = rng.uniform(0.1, 0.5, 10)
        frame[f"{name}_low"], frame[f"{name}_high"] = frame[name] - 0.05, frame[name] + 0.05
    anew = recalibrated(frame)
    assert anew is not None
    lines, again = curves(frame, "unit", "error"), curves(anew, "unit", "error")
    (ax,) = compared(lines, x="unit", y="error", again=again).axes
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    drawn = [np.asarray(line.get_ydata()) for line in hollow[:-1]]  # the last is the legend's
    for number, values in enumerate(drawn):
        there = frame.loc[frame["model"] == ("one", "two")[number]]
        np.testing.assert_allclose(values, there["error_recalibrated"].iloc[1:])
    assert len(drawn) == 2
    assert "hollow: statistics estimated anew" in ax.get_legend_handles_labels()[1]
    pool, over = pooled(lines, "unit", "error"), pooled(again, "unit", "error")
    (ax,) = compared(lines, x="unit", y="error", pool=pool, again=over).axes
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    means = again.loc[again["unit"] >= 0].groupby("unit")["error"].mean()
    np.testing.assert_allclose(np.asarray(hollow[0].get_ydata()), means)
