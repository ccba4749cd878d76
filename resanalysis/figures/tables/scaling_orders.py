"""What the table of orders says in a few numbers; ``figures.scaling`` draws it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from resanalysis.figures.words import Headlines, column

if TYPE_CHECKING:
    import pandas as pd

# Of the way from the loss of order 0 to the network's own.
NEAR = 0.05


def explaining_order(frame: pd.DataFrame) -> int:
    """The lowest order from which on the loss stays within 5 % of the way from order 0 to the network's own."""
    loss = column(frame, "loss")
    near = np.abs(loss - loss[-1]) <= NEAR * abs(loss[0] - loss[-1])
    return int(len(near) - np.logical_and.accumulate(near[::-1]).sum())


def headlines(frame: pd.DataFrame) -> Headlines:
    """The order that explains the loss, and the mean order of the logits and of the gradient."""
    at = explaining_order(frame)
    order, loss = column(frame, "order"), column(frame, "loss")
    return [
        ("loss without branches (order 0)", f"{loss[0]:.3g} nats; as trained {loss[-1]:.3g}"),
        ("orders that explain the loss", f"0 to {at} of {int(order[-1])}: {loss[at]:.3g} nats"),
        (
            "largest loss of an expansion cut short",
            f"{loss.max():.3g} nats, at order {loss.argmax()}",
        ),
        *(
            (f"mean order of the {called}", f"{float((order * column(frame, name)).sum()):.3g}")
            for called, name in (("logits", "output_share"), ("gradient", "gradient_share"))
        ),
    ]
