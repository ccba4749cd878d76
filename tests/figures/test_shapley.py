"""Values and damages are drawn with the intervals of the table."""

from __future__ import annotations

import io

import pytest

from resanalysis import figures
from resanalysis.figures.style import FULL, HALF
from resanalysis.figures.tables.shapley import headlines
from tests.figures.frames import shapley_frame


@pytest.mark.parametrize("width", [FULL, HALF])
def test_it_shows_both_with_their_intervals(width: float) -> None:
    frame = shapley_frame()
    figure = figures.shapley(frame, width=width)
    figure.savefig(io.BytesIO(), format="png")
    assert figure.get_tightbbox().x1 < width + 0.02
    (axes,) = figure.axes
    assert axes.get_ylabel() == "Added cross-entropy (nats)"
    assert axes.get_xlabel()
    drawn = {container.get_label(): container for container in axes.containers}
    for name, label in (("value", "Shapley value"), ("damage", "deleted alone")):
        container = drawn[label]
        assert list(container.lines[0].get_ydata()) == pytest.approx(frame[name].tolist())
        for ((_, low), (_, high)), row in zip(
            container.lines[2][0].get_segments(), frame.to_dict("records"), strict=True
        ):
            assert (low, high) == pytest.approx((row[f"{name}_low"], row[f"{name}_high"]))


def test_the_error_has_its_own_label() -> None:
    frame = shapley_frame()
    frame.attrs["by"] = "error"
    assert figures.shapley(frame).axes[0].get_ylabel() == "Added error (fraction)"


def test_headlines() -> None:
    frame = shapley_frame(3).assign(
        value=[1.0, 2.0, -0.5], value_low=[0.5, 1, -1], value_high=[1.5, 3, 0], damage=[0.5, 0, 0]
    )
    assert headlines(frame) == [
        ("loss that all units take away, shared out", "2.5 nats"),
        ("found from", "40 orders"),
        ("value of 1 (u1)", "2 nats  (95 %: 1 to 3); alone 0"),
        ("value of 0 (u0)", "1 nats  (95 %: 0.5 to 1.5); alone 0.5"),
        ("value of 2 (u2)", "-0.5 nats  (95 %: -1 to 0); alone 0"),
        ("sum of the damages alone, over the sum of the values", "0.20"),
    ]
    frame.attrs = {"by": "error", "orders": None, "left_out": [4, 7]}
    found = dict(headlines(frame))
    assert found["error that all units take away, shared out"] == "2.5"
    assert found["found from"] == "all 2^3 deletions"
    assert found["cannot be deleted"] == "4 7"
