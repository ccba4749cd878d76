"""Two sources of variation at once: random draws of networks, measured on the same examples."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resanalysis.statistics.bootstrap import RESAMPLES, Floats, interval_ends, resampled

OVER = "of a mean: two-way bootstrap over draws and examples (over examples alone where draws are listed)"
"""What captions say that these intervals are over."""


class Crossed(NamedTuple):
    """A mean over draws and examples.

    Attributes
    ----------
    low, high : its interval over both.
    se_draws, se_examples : its standard error if the one alone varied and the other stayed as it is.
    se : over both.
    """

    mean: float
    low: float
    high: float
    se_draws: float
    se_examples: float
    se: float


def crossed_means(
    blocks: Sequence[NDArray[np.floating]],
    *,
    listed: Sequence[bool],
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Crossed]:
    """Means of tables of draws by examples, with a two-way bootstrap over both.

    Draws and examples are drawn with replacement, independently of each other. The variance that this finds
    is that of the draws, plus that of the examples, plus three times the noise of the single cells: a little
    too much, never too little.

    Parameters
    ----------
    blocks : (D, N) each, the same N examples in all. The same resamples of the examples serve all of them,
        so that a curve over blocks moves as one.
    listed : for each block, whether its draws are all there are: then they do not vary, and the interval is
        over examples alone.

    Returns
    -------
    list : one for each block. No interval (NaN) with a single example, or a single draw that is not all.

    Source: McCullagh 2000; Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1.
    """
    if not blocks:
        return []
    examples = blocks[0].shape[1]
    drawn = np.empty((resamples, len(blocks)))
    # Streams of chance of their own: 1 is that of the examples, 2, 3, … those of each block's draws. A block
    # more changes no other's interval.
    over_draws = [
        resampled(len(block), resamples=resamples, seed=[seed, 2 + number])
        for number, block in enumerate(blocks)
    ]
    done = 0
    # Examples outermost: their weights are the large ones, and are made once for all blocks.
    for weights in resampled(examples, resamples=resamples, seed=[seed, 1]):
        rows = slice(done, done + len(weights))
        done += len(weights)
        for number, block in enumerate(blocks):
            times = next(over_draws[number])
            if listed[number]:
                times = np.ones_like(times)
            # tᵀ X w, for the times t and w that the resample has each draw and each example.
            sums = np.einsum("rn,rn->r", times @ block.astype(np.float64), weights)
            drawn[rows, number] = sums / block.size
    return [
        _crossed(block, drawn[:, [number]], listed[number], level)
        for number, block in enumerate(blocks)
    ]


def _crossed(block: NDArray[np.floating], drawn: Floats, listed: bool, level: float) -> Crossed:
    values = block.astype(np.float64)
    draws, examples = values.shape
    mean = values.mean()
    if np.isnan(mean):  # a quantity that these examples do not have
        return Crossed(*[float("nan")] * len(Crossed._fields))
    se_draws = 0.0 if listed else _standard_error(values.mean(1))
    se_examples = _standard_error(values.mean(0))
    if examples < 2 or (draws < 2 and not listed):
        return Crossed(float(mean), np.nan, np.nan, se_draws, se_examples, np.nan)
    low, high = interval_ends(np.array([mean]), drawn, level=level)
    return Crossed(
        float(mean), float(low[0]), float(high[0]), se_draws, se_examples, float(drawn.std(ddof=1))
    )


def _standard_error(values: Floats) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def crossed_columns(
    values: Mapping[str, NDArray[np.floating]],
    groups: Sequence[Hashable],
    listed: Sequence[bool],
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """The mean of every group of rows over draws and examples, repeated in each row of the group.

    Parameters
    ----------
    values : quantities by name, (rows, N) each.
    groups : what each row is a draw of; ``None`` for a row that is no draw.
    listed : for each row, whether its group holds all draws there are.

    Returns
    -------
    DataFrame : for each quantity X, ``mean_X``, ``mean_X_low``, ``mean_X_high``, ``mean_X_se_draws``,
        ``mean_X_se_examples``, ``mean_X_se``, the fields of ``Crossed``; NaN for a row that is no draw.
    """
    parts = [pd.DataFrame()]
    for name, rows in values.items():
        members = members_of(groups)
        found = crossed_means(
            [rows[chosen] for chosen in members],
            listed=[listed[chosen[0]] for chosen in members],
            seed=seed,
        )
        parts.append(repeated(name, groups, found))
    return pd.concat(parts, axis=1)


def members_of(groups: Sequence[Hashable]) -> list[list[int]]:
    """The rows of every group, in the order in which groups first occur; none of what is ``None``."""
    members: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        if group is not None:
            members.setdefault(group, []).append(row)
    return list(members.values())


def repeated(name: str, groups: Sequence[Hashable], found: Sequence[Crossed]) -> pd.DataFrame:
    """A mean of every group, in each row of the group, in the columns of ``crossed_columns``."""
    columns: dict[str, Floats] = {}
    for number, field in enumerate(Crossed._fields):
        column = np.full(len(groups), np.nan)
        for chosen, one in zip(members_of(groups), found, strict=True):
            column[chosen] = one[number]
        columns[f"mean_{name}" + ("" if field == "mean" else f"_{field}")] = column
    return pd.DataFrame(columns)
