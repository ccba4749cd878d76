"""Curves of training: the lines are the table's numbers, several networks share one figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from resanalysis.figures import gradient_norms, history


def histories() -> pd.DataFrame:
    rows = [
        {
            "model": model,
            "epoch": epoch,
            "train_error": 0.5 / epoch + lift,
            "test_error": 0.6 / epoch,
        }
        for model, lift in (("plain8", 0.1), ("resnet8", 0.0))
        for epoch in (2, 1, 3)
    ]
    return pd.DataFrame(rows)


def test_curves_are_the_tables_in_the_order_of_epochs() -> None:
    frame = histories()
    ax = history.draw(frame)
    curves = {str(line.get_label()): line for line in ax.get_lines()}
    assert set(curves) == {
        f"{m} {part}" for m in ("plain8", "resnet8") for part in ("training", "test")
    }
    plain = curves["plain8 training"]
    np.testing.assert_allclose(np.asarray(plain.get_xdata()), [1, 2, 3])
    np.testing.assert_allclose(np.asarray(plain.get_ydata()), [0.6, 0.35, 0.5 / 3 + 0.1])
    assert plain.get_linestyle() == "--"
    assert curves["plain8 test"].get_linestyle() == "-"
    assert plain.get_color() != curves["resnet8 test"].get_color()
    assert ax.get_xlabel() == "Epoch"
    assert ax.get_ylabel() == "Error (fraction)"
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "plain8",
        "resnet8",
        "test",
        "training",
    ]


def test_one_network_needs_no_name() -> None:
    frame = histories().iloc[:3].drop(columns="model")
    legend = history.draw(frame).get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["test", "training"]


def test_figures_of_both_widths() -> None:
    for width in (5.5, 2.7):
        figure = history.history(histories(), width=width)
        assert isinstance(figure, Figure)
        assert figure.get_figwidth() == width


def test_gradient_norms_show_the_first_and_the_last_epoch_of_many() -> None:
    rows = [
        {"epoch": epoch, "layer": layer, "norm": 0.1 + layer, "norm_low": 0.05, "norm_high": 9.0}
        for epoch in range(20)
        for layer in range(4)
    ]
    ax = gradient_norms.draw(pd.DataFrame(rows))
    labels = [str(line.get_label()) for line in ax.get_lines()]
    assert len(labels) == gradient_norms.MOST_EPOCHS
    assert (labels[0], labels[-1]) == ("at the start", "after epoch 19")
    np.testing.assert_allclose(np.asarray(ax.get_lines()[0].get_ydata()), [0.1, 1.1, 2.1, 3.1])
    assert ax.get_yscale() == "log"
    assert gradient_norms.gradient_norms(pd.DataFrame(rows), width=2.7).get_figwidth() == 2.7
