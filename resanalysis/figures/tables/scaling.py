"""Error and loss against the factor that all branches are multiplied by."""

from __future__ import annotations

from functools import partial

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from resanalysis.figures.style import (
    BLUE,
    FULL,
    INTACT,
    ORANGE,
    RC,
    Draw,
    measured,
    metric_label,
    narrow,
    new_figure,
    panelled,
    whole_numbers,
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


def draw_orders(orders: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The loss of the expansion up to each order, with its band over examples; dashed, the network's own.

    Needs ``order`` and ``loss`` with its ends. Conclude from the order at which it comes to the dashed line how
    long the paths are that the answers need; from a loss above that of order 0, that short paths alone mislead.
    """
    if ax is None:
        ax = new_figure()[1][0]
    with mpl.rc_context(RC):
        ax.axhline(orders["loss"].iloc[-1], color=INTACT, linestyle="--", linewidth=0.8)
        ax.fill_between(orders["order"], orders["loss_low"], orders["loss_high"], color=BLUE,
                        alpha=0.2, linewidth=0)  # fmt: skip
        ax.plot(orders["order"], orders["loss"], color=BLUE, marker="o", markersize=2.8)
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(NullFormatter())
        _by_length(ax, "Orders up to (path length)")
        ax.set_ylabel("Cross-entropy (nats)")
    return ax


def draw_shares(orders: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The signed share of each order in the logits, beside that of the paths of this length in the gradient.

    Needs ``order``, and ``output_share`` and ``gradient_share`` with their ends. Conclude from curves that
    lie on each other that the answer takes the ways the gradient takes.
    """
    if ax is None:
        ax = new_figure()[1][0]
    with mpl.rc_context(RC):
        ax.axhline(0, color=INTACT, linestyle=":", linewidth=0.8)
        looks = (("output", "logits", BLUE, "o-"), ("gradient", "gradient", ORANGE, "s--"))
        for name, called, colour, look in looks:
            low, high = (orders[f"{name}_share_{end}"] for end in ("low", "high"))
            ax.fill_between(orders["order"], low, high, color=colour, alpha=0.25, linewidth=0)
            ax.plot(orders["order"], orders[f"{name}_share"], look, color=colour, markersize=2.8,
                    label=called)  # fmt: skip
        _by_length(ax, "Order (path length)")
        ax.set_ylabel("Signed share")
        ax.legend(handlelength=2.4)
    return ax


def _by_length(ax: Axes, label: str) -> None:
    whole_numbers(ax.xaxis)
    ax.set_xlabel(label)


def scaling(
    frame: pd.DataFrame,
    *,
    orders: pd.DataFrame | None = None,
    width: float = FULL,
    panel: str | None = None,
) -> Figure:
    """The figure of ``scaling.csv``: error and loss, or agreement and divergence without labels.

    Parameters
    ----------
    orders : ``scaling_orders.csv``, where it is known; it adds two panels.
    """
    first = measured(frame, None)
    second = "loss" if first == "error" else "kl"
    drawn: list[Draw] = [partial(draw, frame, metric=metric) for metric in (first, second)]
    if orders is not None:
        drawn += [partial(draw_orders, orders), partial(draw_shares, orders)]
    columns = 1 if narrow(width) else 2
    height = 1.9 if len(drawn) > 2 else 2.3
    return panelled(drawn, "scaling", width=width, panel=panel, height=height, columns=columns)[0]


TITLE = "All branches longer or shorter"
HOW_TO_READ = (
    "Error and loss as the branches of all units are multiplied by one factor: 1 (dashed) is the network as "
    "trained, at 0 all branches are deleted. Conclude from a wide flat bottom that the branches are small "
    "corrections to the stream; from a steep one, that units need each other's outputs at their size. Below, "
    "the output as a polynomial in the factor, all parts replaced by their tangents: the loss of its terms up "
    "to each order, and each order's share of the logits beside the share of the paths of that length in the "
    "gradient. Bands are 95 % intervals over examples."
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
