"""Error against units removed, by the order in which they go, and the speed that buys."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from resanalysis.figures.legends import shared_legend
from resanalysis.figures.recalibrated import NAME, recalibrated
from resanalysis.figures.style import (
    BLUE,
    BROWN,
    CYAN,
    FULL,
    GREEN,
    GREY,
    INTACT,
    ORANGE,
    PINK,
    PURPLE,
    RC,
    RED,
    YELLOW,
    Draw,
    chance_line,
    legend_above,
    measured,
    metric_label,
    narrow,
    one_axes,
    panelled,
    whole_numbers,
)
from resanalysis.figures.words import Finding, Headlines, between, counted, examples, percent

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "In which order units can go"
HOW_TO_READ = (
    "Error (of detections, mAP) with k units deleted, in the order that greedy search, cheap measures or "
    "chance give; the band of greedy is a 95 % interval over examples, that of random orders their range. "
    "Conclude from the distance between a cheap order and greedy what measuring every deletion buys. "
    "Orders were found on other examples than these; bars of the speed-up are 95 % intervals over pairs of "
    "runs on one machine."
)

# Colour and dashes of each order, so that one of the two is enough to tell them apart.
_LOOKS: dict[str, tuple[str, Any]] = {
    "greedy": (BLUE, "-"),
    "lesion": (ORANGE, (0, (5, 1.2))),
    "interactions": (CYAN, "-"),
    "span": (INTACT, (0, (3, 1, 1, 1))),
    "span_distance": (INTACT, (0, (1, 1.2))),
    "influence": (GREEN, (0, (1, 1))),
    "ratio": (RED, (0, (4, 1, 1, 1))),
    "branch_norm": (PURPLE, (0, (2, 1))),
    "cosine": (BROWN, (0, (6, 1, 1, 1, 1, 1))),
    "gradient_cosine": (PINK, (0, (3, 2))),
    "gate": (YELLOW, (0, (1, 2))),
    "bn_scale": (YELLOW, (0, (5, 2))),
    "scale": (PINK, (0, (1, 1.5))),
}
# A measure that is taken anew has the look of the measure, and crosses.
_AGAIN = "iterative_"
_ORDERS = [*_LOOKS, *(_AGAIN + name for name in _LOOKS)]


_SPEED = ("measured", "by operations")


@mpl.rc_context(RC)
def draw(frame: pd.DataFrame, ax: Axes | None = None, *, metric: str | None = None) -> Axes:
    """The error against the number of units removed, one line an order.

    Needs ``order``, ``draw``, ``removed`` and the metric; with ``METRIC_low`` and ``METRIC_high`` the greedy
    order has its intervals over examples. Of ``random`` the line is the median of the draws and the band
    their range. A dotted line is chance, where ``chance`` is known and errors come near it. Conclude from the
    distance between a cheap order and ``greedy`` what measuring every deletion buys; from a greedy line that
    stays at the intact one, how many units the task does not need.
    """
    ax = ax or one_axes()
    metric = _drawn(frame, metric)
    intact = frame.loc[frame["order"] == "intact"]
    start = float(intact[metric].iloc[0])
    ax.axhline(start, color=INTACT, linestyle="--", linewidth=0.8, label="intact")
    chance_line(ax, frame, metric)
    by_order = {str(name): rows.sort_values("removed") for name, rows in frame.groupby("order")}
    if "random" in by_order:
        _random(ax, by_order["random"], metric, start)
    for name in reversed([name for name in _ORDERS if name in by_order]):
        _order(ax, by_order[name], name, metric, start)
    if "greedy" in by_order and {f"{metric}_low", f"{metric}_high"} <= set(frame):
        _band(ax, intact, by_order["greedy"], metric)
    ax.set_xlabel("Units removed")
    ax.set_ylabel(metric_label(metric))
    whole_numbers(ax.xaxis)
    ax.set_xlim(0, max(1, int(frame["removed"].to_numpy(int).max())))
    legend_above(ax)
    return ax


def _drawn(frame: pd.DataFrame, metric: str | None) -> str:
    """The column to draw: the one asked for, the metric that the orders go by, else the usual one."""
    own = frame.attrs.get("whole_metrics") if frame.attrs.get("by") == "metric" else None
    return measured(frame, own[0] if metric is None and own else metric)


def _order(ax: Axes, rows: pd.DataFrame, name: str, metric: str, start: float) -> None:
    """A line that begins at the intact network, the greedy one bold and on top."""
    colour, dashes = _LOOKS[name.removeprefix(_AGAIN)]
    width, level = (2.0, 4) if name == "greedy" else (1.1, 3)
    marker = "x" if name.startswith(_AGAIN) else ""
    ax.plot(np.r_[0, rows["removed"].to_numpy(int)], np.r_[start, rows[metric].to_numpy(float)],
            color=colour, linestyle=dashes, linewidth=width, label=_spelled(name), zorder=level,
            marker=marker, markersize=3)  # fmt: skip


def _band(ax: Axes, intact: pd.DataFrame, rows: pd.DataFrame, metric: str) -> None:
    ends = [
        np.r_[intact[end].to_numpy(float)[:1], rows[end].to_numpy(float)]
        for end in (f"{metric}_low", f"{metric}_high")
    ]
    at = np.r_[0, rows["removed"].to_numpy(int)]
    ax.fill_between(at, *ends, color=_LOOKS["greedy"][0], alpha=0.18, linewidth=0, zorder=2)


def _random(ax: Axes, rows: pd.DataFrame, metric: str, start: float) -> None:
    """The median of the random orders, and a band over their range."""
    at = np.unique(rows["removed"].to_numpy(int))
    errors = [rows.loc[rows["removed"] == k, metric].to_numpy(float) for k in at]
    low, middle, high = (
        np.r_[start, [reduced(values) for values in errors]]
        for reduced in (np.min, np.median, np.max)
    )
    at, draws = np.r_[0, at], max(len(values) for values in errors)
    if draws > 1:
        ax.fill_between(at, low, high, color=GREY, alpha=0.25, linewidth=0, zorder=1)
    name = f"random (range of {draws})" if draws > 1 else "random"
    ax.plot(at, middle, color=GREY, linewidth=1.1, label=name, zorder=2)


@mpl.rc_context(RC)
def draw_speed(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The measured speed-up against the number of units removed, beside the ratio of operations.

    Needs ``order``, ``removed``, ``speedup`` with its ``_low`` and ``_high``, and ``flops_ratio``. Bars are
    intervals of the median over pairs of runs. Conclude from points below the line that what is left costs
    more than its operations say: memory traffic, small layers.
    """
    ax = ax or one_axes()
    rows = frame.loc[frame["order"].isin(["intact", "greedy"])].sort_values("removed")
    timed = rows.loc[rows["speedup"].notna()]
    speed = timed["speedup"].to_numpy(float)
    ends = np.array([speed - timed["speedup_low"], timed["speedup_high"] - speed], dtype=float)
    ax.axhline(1, color=INTACT, linestyle="--", linewidth=0.8, label="intact")
    ax.plot(rows["removed"], rows["flops_ratio"], color=INTACT, linestyle="-.", linewidth=0.8,
            label="by operations")  # fmt: skip
    ax.errorbar(timed["removed"], speed, yerr=ends.clip(min=0), color=BLUE, marker="o", linestyle="-",
                elinewidth=0.8, capsize=1.5, label="measured")  # fmt: skip
    ax.set_xlabel("Units removed")
    ax.set_ylabel("Speed-up (×)")
    whole_numbers(ax.xaxis)
    ax.set_xlim(0, max(1, int(rows["removed"].to_numpy(int).max())) + 0.3)
    legend_above(ax)
    return ax


def prune(
    frame: pd.DataFrame,
    *,
    metric: str | None = None,
    width: float = FULL,
    panel: str | None = None,
) -> Figure:
    """The figure of ``prune.csv``.

    Parameters
    ----------
    panel : ``a``, the error by order; then the same with batch-norm statistics estimated anew, where the table
        has it; last the speed-up, where it was measured.
    """
    again = recalibrated(frame)
    name = _drawn(frame, metric)
    drawn: list[Draw] = [lambda ax: draw(frame, ax, metric=name)]
    if again is not None:
        drawn = [
            partial(_titled, frame, name, "statistics as trained"),
            partial(_titled, again, name, NAME),
        ]
    if frame["speedup"].notna().to_numpy().any():
        drawn.append(lambda ax: draw_speed(frame, ax))
    height = 2.5 if narrow(width) else 2.9
    beside = 2 if len(drawn) > 2 and not narrow(width) else None
    figure, axes = panelled(drawn, "prune", width=width, panel=panel, height=height, columns=beside)
    if again is not None and panel is None:  # on one scale, to be compared
        ends = [end for ax in axes[:2] for end in ax.get_ylim()]
        for ax in axes[:2]:
            ax.set_ylim(min(ends), max(ends))
    shared_legend(figure, axes, order=_rank, columns=2 if narrow(width) else 4)
    return figure


def _titled(frame: pd.DataFrame, metric: str, title: str, ax: Axes) -> None:
    draw(frame, ax, metric=metric)
    ax.set_title(title, pad=4, size=8)


def _rank(name: str) -> int:
    """Place of a legend's entry: the levels, the orders, random ones, the speeds."""
    known = ["intact", "chance", *(_spelled(order) for order in _ORDERS), "random", *_SPEED]
    return known.index("random" if name.startswith("random") else name)


def _spelled(order: str) -> str:
    return order.replace("_", " ")


def headlines(frame: pd.DataFrame) -> Headlines:
    """What is left of the network with some units gone, and how much worse cheaper orders do than greedy."""
    intact = frame.loc[frame["order"] == "intact"].iloc[0]
    metric = _drawn(frame, None)
    rows: Headlines = []
    if np.isfinite(intact["error"]):
        rows.append(("intact error", percent(intact["error"])))
    if metric not in _RATES:
        rows.append((f"intact: {metric_label(metric)}", f"{intact[metric]:.4g}"))
    curves = {
        str(name): part.groupby("removed")[metric].median()
        for name, part in frame.loc[frame["order"] != "intact"].groupby("order", sort=False)
    }
    first = "greedy" if "greedy" in curves else next(iter(curves))
    sizes = np.asarray(curves[first].index, dtype=int)
    for k in dict.fromkeys(sizes[[0, len(sizes) // 4, len(sizes) // 2, -1]].tolist()):
        row = frame.loc[(frame["order"] == first) & (frame["removed"] == k)].iloc[0]
        speed = f", {row['speedup']:.2f} times as fast" if np.isfinite(row["speedup"]) else ""
        value = percent(row[metric]) if metric in _RATES else f"{row[metric]:.4g}"
        rows.append((f"{k} removed, {first}", f"{_word(metric)} {value}{speed}"))
    return rows + (_beside_greedy(curves, metric) if first == "greedy" else [])


def _beside_greedy(curves: dict[str, pd.Series], metric: str) -> Headlines:
    """How far each order is from the greedy one on the mean over all sizes, the best first.

    Of what is no error, the highest is taken for the best.
    """
    away = {
        name: float((curve - curves["greedy"]).mean())
        for name, curve in curves.items()
        if name != "greedy"
    }
    # Spans end where no longer one is: they are compared as far as they go.
    last = {name: int(np.asarray(curves[name].index, dtype=int)[-1]) for name in away}
    rows: Headlines = []
    for name in sorted(away, key=lambda name: away[name], reverse=metric != "error"):
        size = abs(away[name])
        said = f"{100 * size:.2f} points" if metric in _RATES else f"{size:.4g}"
        more = f"{said} {'more' if away[name] > 0 else 'less'} {_word(metric)}"
        over = f"mean over 1 to {last[name]} removed"
        rows.append((f"{_spelled(name)} instead of greedy", f"{more}, {over}"))
    return rows


# Said in percent, and their differences in points.
_RATES = ("error", "agreement")


def _word(metric: str) -> str:
    return metric if metric in _RATES else metric_label(metric)


def findings(frame: pd.DataFrame) -> list[Finding]:
    """How many units can go for one point in the order that greedy search found."""
    greedy = frame.loc[(frame["order"] == "greedy") & frame["delta"].notna()]
    if greedy.empty:
        return []
    above = greedy.loc[greedy["delta"] > 0.01, "removed"]
    inside = greedy.loc[greedy["removed"] < above.min()] if len(above) else greedy
    most = int(greedy["removed"].to_numpy().max())
    if inside.empty:
        row = greedy.sort_values("removed").iloc[0]
        text = (
            f"Deleting the first unit that greedy search chose changes the error by {100 * row['delta']:+.2f} "
            "points: more than one point.".replace("-", "−")
        )
    else:
        row = inside.sort_values("removed").iloc[-1]
        text = (
            f"{counted(int(row['removed']), 'unit')} of {most}, chosen by greedy search, can go for one point "
            f"of error: the change is {100 * row['delta']:+.2f} points.".replace("-", "−")
        )
    return [
        Finding(
            text,
            f"with {row['removed']} gone, {between(row['delta_low'], row['delta_high'])}, on examples other "
            f"than the order was found on; {examples(frame)}",
        )
    ]
