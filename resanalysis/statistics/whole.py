"""Quantities of whole samples that are no means over examples, and their bootstrap over examples."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from resanalysis.statistics.bootstrap import Band, Floats, interval_ends, resampled
from resanalysis.statistics.crossed import Crossed, members_of, repeated

Statistic = Callable[[Floats], Mapping[str, Floats]]
"""Of weights (R, N), how often each example occurs, to the quantities by name, (R,) each."""

OVER = "bias-corrected bootstrap over examples, the same draws for every network"
"""What captions say that these intervals are over."""


@dataclass(frozen=True, eq=False)
class Redrawn:
    """A quantity of several networks on all examples, and on the same resamples of them.

    Attributes
    ----------
    value : (K,).
    drawn : (R, K); rows for the same resample can be compared.
    """

    value: Floats
    drawn: Floats

    def bands(self) -> Band:
        """The quantity of each network with its interval."""
        return Band(self.value, *_ends(self.value, self.drawn))

    def changes(self) -> Band:
        """The paired difference of each network from the first, which is the intact one."""
        change = self.value - self.value[0]
        return Band(change, *_ends(change, self.drawn - self.drawn[:, :1]))


def _ends(value: Floats, drawn: Floats) -> tuple[Floats, Floats]:
    """Ends of the intervals, corrected for bias: a resample repeats examples, and its curve of precision is
    smoother than the sample's own.

    Source: Efron 1981, "Nonparametric standard errors and confidence intervals".
    """
    if not len(drawn):
        return np.full_like(value, np.nan), np.full_like(value, np.nan)
    return interval_ends(value, drawn, acceleration=np.zeros(len(value)))


def redrawn(
    statistics: Iterable[Statistic], n: int, *, resamples: int, seed: int = 0
) -> dict[str, Redrawn]:
    """Each quantity of each network, on all ``n`` examples and on resamples that all networks share.

    There are no resamples, and so no intervals, of a single example. A quantity that is not known of every
    network is left out.
    """
    weights = list(resampled(n, resamples=resamples, seed=seed)) if n > 1 else []
    found = [_on(statistic, n, weights) for statistic in statistics]
    names = [name for name in found[0] if all(name in one for one in found)] if found else []
    return {
        name: Redrawn(
            np.array([one[name][0] for one in found]),
            np.stack([one[name][1:] for one in found], axis=1),
        )
        for name in names
    }


def _on(statistic: Statistic, n: int, weights: Sequence[Floats]) -> dict[str, Floats]:
    """Quantities of one network on all examples, and behind them on each resample."""
    pieces = [statistic(some) for some in (np.ones((1, n)), *weights)]
    return {
        name: np.concatenate(
            [piece.get(name, np.full(len(next(iter(piece.values()))), np.nan)) for piece in pieces]
        )
        for name in pieces[0]
    }


def redrawn_columns(
    found: Mapping[str, Redrawn],
    rows: Sequence[int],
    groups: Sequence[Hashable],
    listed: Sequence[bool],
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """The mean of every group of rows over draws of networks and over examples, as ``crossed_columns`` has it.

    Networks are drawn with replacement from their group and examples from the data, independently: each
    resample of the examples is seen by a resample of the networks.

    Parameters
    ----------
    rows : for each row of the table, which network it is.
    groups, listed : as for ``crossed_columns``.

    Source: Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1.
    """
    members = members_of(groups)
    parts = [pd.DataFrame(index=range(len(groups)))]
    for name, one in found.items():
        means: list[Crossed] = []
        for number, chosen in enumerate(members):
            networks = [rows[row] for row in chosen]
            value, drawn = one.value[networks], one.drawn[:, networks]
            means.append(_crossed(value, drawn, listed[chosen[0]], [seed, 2 + number]))
        parts.append(repeated(name, groups, means))
    return pd.concat(parts, axis=1)


def _crossed(value: Floats, drawn: Floats, listed: bool, seed: Sequence[int]) -> Crossed:
    """The mean of ``value`` (D,) with ``drawn`` (R, D) of the same networks on resamples of the examples."""
    draws = len(value)
    mean = float(value.mean())
    se_draws = 0.0 if listed else _spread(value) / np.sqrt(draws)
    over_examples = drawn.mean(1)
    if not len(drawn) or (draws < 2 and not listed):
        return Crossed(mean, np.nan, np.nan, se_draws, _spread(over_examples), np.nan)
    both = over_examples
    if not listed:
        # Resample r of the networks on resample r of the examples: both vary at once, as in `crossed_means`.
        times = np.concatenate(list(resampled(draws, resamples=len(drawn), seed=seed)))
        both = (times * drawn).sum(1) / draws
    low, high = _ends(np.array([mean]), both[:, None])
    return Crossed(
        mean, float(low[0]), float(high[0]), se_draws, _spread(over_examples), _spread(both)
    )


def _spread(values: Floats) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
