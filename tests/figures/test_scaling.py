"""Error and loss against the factor, with their bands."""

from __future__ import annotations

import io

import numpy as np
import pytest

from resanalysis import figures
from resanalysis.figures.style import FULL, HALF
from resanalysis.figures.tables.scaling import headlines
from resanalysis.figures.tables.scaling_orders import headlines as order_headlines
from tests.figures.frames import orders_frame, scaling_frame


@pytest.mark.parametrize("width", [FULL, HALF])
def test_it_shows_the_table(width: float) -> None:
    frame = scaling_frame()
    figure = figures.scaling(frame, width=width)
    figure.savefig(io.BytesIO(), format="png")
    box = figure.get_tightbbox()
    assert box.x1 < width + 0.02
    assert box.x0 > -0.02
    labels = ["Error (fraction)", "Cross-entropy (nats)"]
    for axes, metric, label in zip(figure.axes, ("error", "loss"), labels, strict=True):
        assert axes.get_ylabel() == label
        assert axes.get_xlabel() == "Factor of all branches"
        curve = axes.lines[1]
        np.testing.assert_allclose(curve.get_xdata(), frame["factor"])
        np.testing.assert_allclose(curve.get_ydata(), frame[metric])
        corners = axes.collections[0].get_paths()[0].vertices
        at = corners[corners[:, 0] == 0.5, 1]
        row = frame.loc[frame["factor"] == 0.5].iloc[0]
        assert [at.min(), at.max()] == pytest.approx([row[f"{metric}_low"], row[f"{metric}_high"]])


def test_without_labels_agreement_and_divergence_are_drawn() -> None:
    frame = scaling_frame()
    names = [name for name in frame if name.startswith(("error", "loss"))]
    figure = figures.scaling(frame.assign(**dict.fromkeys(names, np.nan)))
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "Agreement with intact (fraction)",
        "KL from intact (nats)",
    ]


@pytest.mark.parametrize("width", [FULL, HALF])
def test_orders_add_two_panels(width: float) -> None:
    orders = orders_frame()
    figure = figures.scaling(scaling_frame(), orders=orders, width=width)
    figure.savefig(io.BytesIO(), format="png")
    box = figure.get_tightbbox()
    assert box.x0 > -0.02
    assert box.x1 < width + 0.02
    loss, shares = figure.axes[2:]
    np.testing.assert_array_equal(loss.lines[1].get_ydata(), orders["loss"])
    for line, name in zip(shares.lines[1:], ("output_share", "gradient_share"), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), orders[name])
    assert order_headlines(orders) == [
        ("loss without branches (order 0)", "2 nats; as trained 0.25"),
        ("orders that explain the loss", "0 to 3 of 5: 0.28 nats"),
        ("largest loss of an expansion cut short", "3 nats, at order 1"),
        ("mean order of the logits", "1.7"),
        ("mean order of the gradient", "3.3"),
    ]


def test_headlines() -> None:
    assert headlines(scaling_frame()) == [
        ("error, factor 0", "85.00 %"),
        ("error, factor 0.5", "25.00 %"),
        ("error, factor 1", "5.00 %"),
        ("error, factor 1.5", "25.00 %"),
        ("lowest loss", "0.15 nats, at factor 1"),
        ("9 of 10 answers as trained", "factors 0.7 to 1.3"),
    ]
