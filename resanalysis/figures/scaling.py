"""Error and loss against the factor that all branches are multiplied by."""

from __future__ import annotations

from functools import partial

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resanalysis.figures.style import (
    BLUE,
    FULL,
    INTACT,
    RC,
    measured,
    metric_label,
    new_figure,
    panelled,
)
from resanalysis.figures.words import Finding, examples


def draw(frame: pd.DataFrame, ax: Axes | None = None, *, metric: str | None = None) -> Axes:
    """The metric against the factor, with its band over examples; the network as trained is at 1.

    Needs ``factor`` and the metric (the error, or the agreement of data without labels), and draws its band
    where ``METRIC_low`` and ``METRIC_high`` are there. Conclude from a wide flat bottom that the branches are
    small corrections; from one whose lowest point is off 1, that training left the branches too long or too
    short.
    """
    if ax is None:
        ax = new_figure()[1][0]
    metric = measured(frame, metric)
    at, value = frame["factor"].to_numpy(float), frame[metric].to_numpy(float)
    with mpl.rc_context(RC):
        ax.axvline(1, color=INTACT, linestyle="--", linewidth=0.8)
        low, high = f"{metric}_low", f"{metric}_high"
        if low in frame and high in frame:
            ax.fill_between(at, frame[low], frame[high], color=BLUE, alpha=0.2, linewidth=0)
        ax.plot(at, value, color=BLUE, marker="o", markersize=2.8)
        ax.set_xlabel("Factor of all branches")
        ax.set_ylabel(metric_label(metric))
        if np.isfinite(value).any() and np.nanmin(value) >= 0:
            ax.set_ylim(bottom=0)
    return ax


def scaling(frame: pd.DataFrame, *, width: float = FULL, panel: str | None = None) -> Figure:
    """The figure of ``scaling.csv``: error and loss, or agreement and divergence without labels."""
    first = measured(frame, None)
    second = "loss" if first == "error" else "kl"
    drawn = [partial(draw, frame, metric=metric) for metric in (first, second)]
    return panelled(drawn, "scaling", width=width, panel=panel, height=2.3)[0]


TITLE = "All branches longer or shorter"
HOW_TO_READ = (
    "Error and loss as the branches of all units are multiplied by one factor: 1 (dashed) is the network as "
    "trained, at 0 all branches are deleted. Conclude from a wide flat bottom that the branches are small "
    "corrections to the stream; from a steep one, that units need each other's outputs at their size. Bands "
    "are 95 % intervals over examples."
)


def headlines(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """The error at some factors, the factor of the lowest loss, and where answers stay the same."""
    metric = measured(frame, None)
    factor, value = frame["factor"].to_numpy(float), frame[metric].to_numpy(float)
    rows = [
        (f"{metric}, factor {factor[at]:g}", f"{100 * value[at]:.2f} %")
        for at in dict.fromkeys(
            int(np.abs(factor - wanted).argmin()) for wanted in (0, 0.5, 1, 1.5)
        )
    ]
    loss = frame["loss"].to_numpy(float)
    if np.isfinite(loss).any():
        best = int(np.nanargmin(loss))
        rows.append(("lowest loss", f"{loss[best]:.4g} nats, at factor {factor[best]:g}"))
    agree = factor[frame["agreement"].to_numpy(float) >= 0.9]
    if len(agree):
        rows.append(("9 of 10 answers as trained", f"factors {agree.min():g} to {agree.max():g}"))
    return rows


def findings(frame: pd.DataFrame) -> list[Finding]:
    """Between which factors the answers stay as they are."""
    agree = frame.loc[frame["agreement"] >= _SAME]
    if agree.empty:
        return []
    low, high = agree.iloc[0], agree.iloc[-1]
    ends = [
        f"at {row['factor']:g} agreement {100 * row['agreement']:.1f} % "
        f"(95 %: {100 * row['agreement_low']:.1f} to {100 * row['agreement_high']:.1f})"
        for row in (low, high)
        if "agreement_low" in frame
    ]
    return [
        Finding(
            f"Nine of ten answers stay as trained with all branches multiplied by {low['factor']:g} to "
            f"{high['factor']:g}.",
            "; ".join([*ends, examples(frame)]),
        )
    ]


# Share of the answers that stay the same.
_SAME = 0.9
