"""Gradients by layer: the lines are the table's numbers, of many epochs some are drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd

from resanalysis.figures.tables.gradient_norms import gradient_norms, headlines


def frame(epochs: int = 20) -> pd.DataFrame:
    rows = [
        {"epoch": epoch, "layer": layer, "norm": 0.1 + layer, "norm_low": 0.05, "norm_high": 9.0}
        for epoch in range(epochs)
        for layer in range(4)
    ]
    return pd.DataFrame(rows)


def test_the_first_and_the_last_epoch_of_many_are_drawn() -> None:
    figure = gradient_norms(frame())
    (ax,) = figure.axes
    labels = [str(line.get_label()) for line in ax.get_lines()]
    assert len(labels) == 6
    assert (labels[0], labels[-1]) == ("at the start", "after epoch 19")
    np.testing.assert_allclose(np.asarray(ax.get_lines()[0].get_ydata()), [0.1, 1.1, 2.1, 3.1])
    assert ax.get_yscale() == "log"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Layer", "Gradient norm (nats)")
    assert gradient_norms(frame(), width=2.7).get_figwidth() == 2.7


def test_headlines_compare_the_first_layer_with_the_last() -> None:
    name = "gradient of the first layer over the last's"
    value = f"{0.1 / 3.1:.2g}"
    found = headlines(frame(3))
    assert found == [(f"{name}, at the start", value), (f"{name}, after epoch 2", value)]
