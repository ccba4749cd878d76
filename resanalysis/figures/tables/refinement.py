"""The stream as an estimate: of where its stage ends, down the loss, and of the answer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from resanalysis.figures.style import (
    BLUE,
    FULL,
    GREEN,
    INTACT,
    ORANGE,
    RC,
    RED,
    Draw,
    narrow,
    one_axes,
    panelled,
    shade_stages,
    whole_numbers,
)
from resanalysis.figures.words import Headlines, column, percent

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Refinement of the stream within a stage"
HOW_TO_READ = (
    "Stream after each unit less the stream after the last unit of its stage: the mean, and the standard "
    "deviation over all numbers of all examples; cosine of each unit's move with the way down the loss, grey "
    "where 95 % of random directions are; error of the answer that an affine lens, fitted on other examples, "
    "or the model's own head reads off the stream; examples by the first unit from which on their answer "
    "stays. Bands are 95 % intervals over examples, shading: stages. Conclude from means near 0, beside a "
    "spread that falls along a stage, that units refine one estimate; from cosines above the grey and errors "
    "that fall unit by unit, that the estimate is of the answer. At the end of a stage mean and spread are 0 "
    "by definition."
)


def draw(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The mean error of each unit with its interval; stages are not joined.

    Needs ``unit``, ``stage``, ``mean``, ``mean_low`` and ``mean_high``. Conclude from intervals away from 0
    that the stage shifts the stream, as a whole, between here and its end.
    """
    ax = ax or one_axes()
    with mpl.rc_context(RC):
        shade_stages(ax, frame)
        ax.axhline(0, color=INTACT, linestyle=":", linewidth=0.8)
        for _, rows in frame.groupby("stage"):
            ax.fill_between(rows["unit"], rows["mean_low"], rows["mean_high"], color=BLUE, alpha=0.25,
                            linewidth=0)  # fmt: skip
            ax.plot(rows["unit"], rows["mean"], "o-", color=BLUE, markersize=2.5)
        _named(ax, "Mean of the error")
    return ax


def draw_spread(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The standard deviation of the error at each unit; stages are not joined.

    Needs ``unit``, ``stage`` and ``spread``. Conclude from a fall along the stage that units approach its end
    step by step; from a line that falls at the last units only, that these make it.
    """
    ax = ax or one_axes()
    with mpl.rc_context(RC):
        shade_stages(ax, frame)
        for _, rows in frame.groupby("stage"):
            ax.plot(rows["unit"], rows["spread"], "s-", color=ORANGE, markersize=2.5)
        ax.set_ylim(bottom=0)
        _named(ax, "Spread (std)")
    return ax


def draw_descent(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The cosine of each unit's move with the way down the loss, with its interval.

    Needs ``unit``, ``stage``, ``descent`` with its ends, and ``descent_chance``. The grey band holds 95 % of
    random directions. Conclude from cosines above it that a unit takes a step down the loss; from their size,
    how small a part of the move that is.
    """
    ax = ax or one_axes()
    with mpl.rc_context(RC):
        shade_stages(ax, frame)
        ax.axhline(0, color=INTACT, linestyle=":", linewidth=0.8)
        for _, rows in frame.groupby("stage"):
            # Of a random direction the cosine has mean 0 and variance 1 / dimension.
            chance = 1.96 * np.sqrt(column(rows, "descent_chance"))
            ax.fill_between(rows["unit"], -chance, chance, color="0.75", linewidth=0)
            _banded(ax, rows, "descent", BLUE, "o-")
        _named(ax, "Cosine with −∂L/∂h")
    return ax


def draw_exits(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The error of answers read off the stream after each unit: by a lens, and by the model's own head.

    Needs ``unit``, ``stage``, and ``lens_error`` and ``head_error`` with their ends; of data without labels the
    disagreement with the model is drawn. Conclude from a lens that falls at every unit that the answer is
    refined step by step; from a head above the lens, that what is there is not yet where the head looks.
    """
    ax = ax or one_axes()
    labelled = np.isfinite(column(frame, "lens_error")).any()
    with mpl.rc_context(RC):
        shade_stages(ax, frame)
        readers = (("lens", "lens", ORANGE, "s-"), ("head", "own head", BLUE, "o--"))
        for reader, called, colour, look in readers:
            shown = frame if labelled else _disagreement(frame, reader)
            _banded(ax, shown, f"{reader}_error", colour, look, label=called)
        ax.set_ylim(bottom=0)
        ax.legend(handlelength=2.4)
        _named(ax, "Error (fraction)" if labelled else "Other answers (fraction)")
    return ax


def _disagreement(frame: pd.DataFrame, reader: str) -> pd.DataFrame:
    """The table with the share of other answers than the model's in the place of the error."""
    ends = {"": "", "_low": "_high", "_high": "_low"}
    return frame.assign(
        **{f"{reader}_error{end}": 1 - frame[f"{reader}_agreement{of}"] for end, of in ends.items()}
    )


def draw_depth(depth: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """How many examples have their answer from each unit on, right and wrong ones apart.

    Needs ``depth``, and ``correct`` where there are labels. The last bar are those of which only the head has
    the answer. Conclude from wrong answers further right than right ones that late answers are not to be
    trusted.
    """
    ax = ax or one_axes()
    reached = np.asarray(depth["depth"], dtype=int)
    right = np.asarray(depth["correct"], dtype=bool) if "correct" in depth else reached >= 0
    last = int(depth.attrs.get("units", reached.max()))
    at = np.arange(last + 1)
    with mpl.rc_context(RC):
        kinds = [("right", right, GREEN, -0.2), ("wrong", ~right, RED, 0.2)]
        for name, some, colour, shift in kinds:
            if some.any():
                share = np.bincount(reached[some], minlength=last + 1) / some.sum()
                what = f"{name} ({int(some.sum())})" if "correct" in depth else "all"
                ax.bar(at + shift, share, 0.4, color=colour, label=what)
        ax.legend(handlelength=1.0)
        whole_numbers(ax.xaxis)
        ax.set_xlabel("Unit from which on the answer stays")
        ax.set_ylabel("Share of answers")
    return ax


def _banded(
    ax: Axes, rows: pd.DataFrame, name: str, colour: str, look: str, label: str | None = None
) -> None:
    ax.fill_between(
        rows["unit"], column(rows, f"{name}_low"), column(rows, f"{name}_high"), color=colour,
        alpha=0.25, linewidth=0,
    )  # fmt: skip
    ax.plot(rows["unit"], column(rows, name), look, color=colour, markersize=2.5, label=label)


def _named(ax: Axes, what: str) -> None:
    whole_numbers(ax.xaxis)
    ax.set_xlabel("Unit (shading: stages)")
    ax.set_ylabel(what)


def refinement(
    frame: pd.DataFrame,
    *,
    depth: pd.DataFrame | None = None,
    width: float = FULL,
    panel: str | None = None,
) -> Figure:
    """The figure of ``refinement.csv``: mean, spread, descent, exits; and of ``refinement_depth.csv``.

    Parameters
    ----------
    depth : the second table, where it is known. Panels of what was not measured are left out.
    """
    drawn: list[Draw] = [partial(draw, frame), partial(draw_spread, frame)]
    if _there(frame, "descent"):
        drawn.append(partial(draw_descent, frame))
    if _there(frame, "lens_agreement") or _there(frame, "head_agreement"):
        drawn.append(partial(draw_exits, frame))
    if depth is not None:
        drawn.append(partial(draw_depth, depth))
    columns = 1 if narrow(width) else 2
    height = 1.75 if narrow(width) else 2.0
    return panelled(drawn, "refinement", width=width, panel=panel, height=height, columns=columns)[
        0
    ]


def _there(frame: pd.DataFrame, name: str) -> bool:
    return name in frame and bool(np.isfinite(column(frame, name)).any())


def headlines(frame: pd.DataFrame) -> Headlines:
    """Of each stage: how its spread falls, and its mean beside it; then the loss and the answer."""
    return [*_of_stages(frame), *_of_descent(frame), *_of_exits(frame)]


def _of_descent(frame: pd.DataFrame) -> Headlines:
    if not _there(frame, "descent"):
        return []
    known = frame.loc[frame["descent"].notna()]
    above = column(known, "descent_low") > 0
    share, chance = column(known, "descent_share"), column(known, "descent_chance")
    return [
        ("units whose move goes down the loss", f"{int(above.sum())} of {len(known)}"),
        (
            "share of the move along −∂L/∂h",
            f"{np.median(share):.2g} (median over units), {np.median(share / chance):.3g} times that of a "
            "random direction",
        ),
    ]


def _of_exits(frame: pd.DataFrame) -> Headlines:
    if not _there(frame, "lens_agreement"):
        return []
    rows: Headlines = []
    settled = column(frame, "settled")
    for at in dict.fromkeys((0, len(frame) // 2, len(frame) - 1)):
        error = frame["lens_error"].iloc[at]
        said = f"error {percent(error)}, " if np.isfinite(error) else ""
        rows.append(
            (f"lens after unit {frame['unit'].iloc[at]}", f"{said}{percent(settled[at])} settled")
        )
    fitted, features = frame.attrs.get("n_lens"), frame.attrs.get("features")
    if fitted and features and fitted < 5 * features:
        rows.append(
            ("few examples", f"lenses of {features} channels are fitted on {fitted}: they overfit")
        )
    return rows


def _of_stages(frame: pd.DataFrame) -> Headlines:
    found: Headlines = []
    for stage, rows in frame.groupby("stage"):
        if len(rows) < 2:
            continue
        before = rows.iloc[:-1]  # the last is 0 by definition
        spread, mean = column(before, "spread"), np.abs(column(before, "mean"))
        steps = np.diff(column(rows, "spread"))
        found.append(
            (
                f"stage {stage}: spread of the error",
                f"{spread[0]:.3g} after its first unit, {spread[-1]:.3g} before its last; it falls at "
                f"{int((steps < 0).sum())} of {len(steps)} units",
            )
        )
        if (spread > 0).any():
            most = np.max(mean[spread > 0] / spread[spread > 0])
            found.append((f"stage {stage}: largest |mean| / spread", f"{most:.3g}"))
    return found
