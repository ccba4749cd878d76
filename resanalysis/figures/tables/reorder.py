"""Error against the Kendall tau of the order of the units (Veit et al. 2016, Figure 5b)."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resanalysis.errors import ResanalysisError
from resanalysis.figures.legends import shared_legend
from resanalysis.figures.quantities import orders_headlines, without_error
from resanalysis.figures.recalibrated import NAME, recalibrated
from resanalysis.figures.style import (
    BLUE,
    FULL,
    INTACT,
    ORANGE,
    RC,
    chance_near,
    legend_above,
    measured,
    metric_label,
    one_axes,
    panelled,
)
from resanalysis.figures.words import Finding, Headlines, column, counted, examples, percent

# Whether the first unit moved: colour, marker of the means, name.
_LOOKS = {True: (ORANGE, "D", "first unit moved"), False: (BLUE, "o", "first unit in place")}


def draw(frame: pd.DataFrame, ax: Axes | None = None, *, metric: str | None = None) -> Axes:
    """Every order as a dot, coloured by whether the first unit moved, and the means by bin of tau.

    Needs ``kendall_tau``, ``swaps`` and the metric; ``first_moved`` for the colours; ``tau_bin`` and
    ``mean_METRIC`` with its interval over orders and examples for the means; dotted lines with hollow marks are
    the means with batch-norm statistics estimated anew, where the table has them. The order of the trained
    network is at tau 1, on the left as in the paper. Conclude from a smooth rise that units are not tied to
    their place; from colours far apart that it matters which unit moves, and not how far the order is from
    the trained one.
    """
    if ax is None:
        ax = one_axes()
    metric = measured(frame, metric)
    moved = frame.loc[frame["swaps"] > 0]
    with mpl.rc_context(RC):
        for first_moved, rows in _by_what_moved(moved):
            colour, marker, name = _LOOKS[first_moved]
            ax.scatter(rows["kendall_tau"], rows[metric], s=6, color=colour, alpha=0.35, linewidth=0,
                       label=name)  # fmt: skip
            _means(ax, rows, metric, colour, f"{marker}-", "mean, 95 % over orders × examples")
            again = recalibrated(rows)
            if again is not None:
                _means(ax, again, metric, colour, f"{marker}:", f"mean, {NAME}", face="white")
        intact = frame.loc[frame["swaps"] == 0]
        if len(intact):
            ax.axhline(float(intact[metric].iloc[0]), color=INTACT, linestyle="--", linewidth=0.9,
                       label="trained order")  # fmt: skip
        chance_near(ax, moved, metric)
        lowest = float(moved["kendall_tau"].min()) if len(moved) else 0.9
        ax.set_xlim(1.0 + 0.02 * (1 - lowest), lowest - 0.04 * (1 - lowest))
        if metric != "metric":  # a user's own may be negative
            ax.set_ylim(bottom=0)
        ax.set_xlabel("Kendall tau of the order, all units")
        ax.set_ylabel(metric_label(metric))
        legend_above(ax)
    return ax


def _by_what_moved(moved: pd.DataFrame) -> list[tuple[bool, pd.DataFrame]]:
    """The orders that move the first unit, then those that do not, as far as there are any."""
    if "first_moved" not in moved:
        return [(False, moved)]
    flags = moved["first_moved"].astype(bool)
    return [(flag, moved.loc[flags == flag]) for flag in (True, False) if flag in set(flags)]


def _means(
    ax: Axes, rows: pd.DataFrame, metric: str, colour: str, look: str, label: str, face: str = ""
) -> None:
    """Means of the bins of tau over the mean tau of their orders, joined by a line."""
    name = f"mean_{metric}"
    if name not in rows or "tau_bin" not in rows:
        return
    bins = rows.groupby("tau_bin").agg(
        {"kendall_tau": "mean", name: "first", f"{name}_low": "first", f"{name}_high": "first"}
    )
    at, mean, low, high = bins.to_numpy(float).T
    ax.errorbar(at, mean, yerr=np.maximum(0, np.stack([mean - low, high - mean])), color=colour,
                fmt=look, linewidth=1.0, markersize=3.0, elinewidth=0.9, markerfacecolor=face or colour,
                markeredgecolor=colour if face else INTACT, markeredgewidth=0.7 if face else 0.4,
                label=label)  # fmt: skip


def reorder(
    frame: pd.DataFrame,
    *,
    held: pd.DataFrame | None = None,
    metric: str | None = None,
    width: float = FULL,
    panel: str | None = None,
) -> Figure:
    """The figure of ``reorder.csv``: all orders, and beside them those that leave the first unit in place.

    Parameters
    ----------
    held : the table of a run that held the first unit (``hold=[0]``), for the second panel; the orders of
        ``frame`` that happen to leave it if left out.

    Raises
    ------
    ResanalysisError : if ``held`` moves the first unit.
    """
    name = measured(frame, metric)
    second = _in_place(frame) if held is None else held
    if held is not None and held["first_moved"].to_numpy(bool).any():
        raise ResanalysisError(
            "the table of held orders moves the first unit; measure it with hold=[0]"
        )
    parts = {"every order": frame}
    if second is not None:
        parts["first unit in place"] = second
    tau = frame["kendall_tau"].to_numpy(float)
    ends = [float(tau.min()), float(tau.max())]

    def drawn(title: str) -> Callable[[Axes], None]:
        def into(ax: Axes) -> None:
            draw(parts[title], ax, metric=name)
            room = 0.04 * (ends[1] - ends[0])
            ax.set_xlim(
                ends[1] + room, ends[0] - room
            )  # one axis for both panels, from 1 downwards
            if len(parts) > 1:
                ax.set_title(title, pad=4, size=8)

        return into

    figure, axes = panelled(
        [drawn(title) for title in parts], "reorder", width=width, panel=panel, height=2.4
    )
    shared_legend(figure, axes)
    return figure


def _in_place(frame: pd.DataFrame) -> pd.DataFrame | None:
    """The trained order and the orders that leave the first unit, if some move it and some do not."""
    if "first_moved" not in frame:
        return None
    moves = frame["first_moved"].to_numpy(bool)
    stays = ~moves & (frame["swaps"].to_numpy() > 0)
    return frame.loc[~moves] if moves.any() and stays.any() else None


TITLE = "Units in another order"
HOW_TO_READ = (
    "Error (of detections, mAP) against Kendall's tau between the new order and the trained one, over all "
    "units, also those that cannot move. Conclude from a smooth change that units are not tied to their "
    "place. A dot is an "
    "order, coloured by whether it moves the first unit; the marks are means of a bin of tau with 95 % "
    "intervals over orders and examples (a two-way bootstrap). Dotted, where it is there: with "
    "batch-norm statistics estimated anew for each order."
)


def headlines(frame: pd.DataFrame) -> Headlines:
    """The intact error, the range of the orders, and the rank correlation of error and tau."""
    from scipy.stats import spearmanr

    if without_error(frame):
        return orders_headlines(frame)
    swaps = column(frame, "swaps")
    tau, error = column(frame, "kendall_tau"), column(frame, "error")
    rows: Headlines = []
    if np.any(swaps == 0):
        rows.append(("intact error", percent(error[swaps == 0][0])))
    tau, error = tau[swaps > 0], error[swaps > 0]
    if not len(tau):
        return rows
    rows.append(("orders", str(len(tau))))
    rows.append(("Kendall tau", f"{tau.min():.3f} to {tau.max():.3f}"))
    rows.append(("error", f"{percent(error.min())} to {percent(error.max())}"))
    if len(np.unique(tau)) > 1 and len(np.unique(error)) > 1:
        correlation = float(np.asarray(spearmanr(tau, error))[0])
        rows.append(("rank correlation of error and tau (Spearman)", f"{correlation:+.3f}"))
    return rows


def findings(frame: pd.DataFrame) -> list[Finding]:
    """What the mildest and the wildest orders cost."""
    if "mean_error" not in frame or "tau_bin" not in frame:
        return []
    bins = frame.loc[(frame["swaps"] > 0) & frame["mean_error"].notna()].sort_values("tau_bin")
    intact = frame.loc[frame["swaps"] == 0, "error"]
    if bins.empty or intact.isna().all():
        return []
    mild, wild = bins.iloc[-1], bins.iloc[0]
    rise = [100 * float(row["mean_error"] - intact.iloc[0]) for row in (mild, wild)]
    ends = [
        f"{100 * row['mean_error_low']:.2f} to {100 * row['mean_error_high']:.2f} %"
        for row in (mild, wild)
    ]
    return [
        Finding(
            f"Another order of the units costs {rise[0]:+.2f} points of error where it is most like the "
            f"trained one (τ ≈ {mild['tau_bin']:.2f}), and {rise[1]:+.2f} where least "
            f"(τ ≈ {wild['tau_bin']:.2f}).",
            f"error, 95 %: {ends[0]} and {ends[1]}; "
            f"{counted(int(np.sum(column(frame, 'swaps') > 0)), 'order')}; {examples(frame)}",
        )
    ]
