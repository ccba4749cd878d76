"""Many means tested against zero on the same examples: flips of signs, and false discoveries among them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# So many flips at a time that the sums of a thousand columns stay small.
_AT_ONCE = 500
# Sums that differ by rounding alone count as equal.
_ROUNDING = 1e-9


def sign_flip_p(values: ArrayLike, *, resamples: int = 9999, seed: int = 0) -> Floats:
    """Two-sided p-values that the means of paired differences are zero, by flips of their signs.

    Under the null a difference is as likely as its negative. The sum of squares is the same for every flip, so
    that the mean orders flips as Student's t does: with many examples the test holds for a mean of zero alone.
    All flips are counted where there are few enough of them, else ``resamples`` random ones and the signs as
    they are.

    Parameters
    ----------
    values : (N, P), P differences of each of N examples; the same flips serve all P.

    Returns
    -------
    array (P,) : NaN for a column with a value that is not finite.

    Source: Fisher 1935, §21; Phipson and Smyth 2010 (the signs as they are count as one).
    """
    data = np.asarray(values, dtype=np.float64)
    usable = np.isfinite(data).all(0)
    p_values = np.full(data.shape[1], np.nan)
    data = data[:, usable]
    n = len(data)
    # A flip and its opposite give the same size: one of the signs can stay.
    exact = n < 60 and 2 ** (n - 1) <= resamples + 1
    flips = 2 ** (n - 1) if exact else resamples
    generator = np.random.default_rng(seed)
    observed = np.abs(data.sum(0)) - _ROUNDING * np.abs(data).sum(0)
    as_large = np.zeros(data.shape[1])
    for start in range(0, flips, _AT_ONCE):
        stop = min(start + _AT_ONCE, flips)
        if exact:
            bits = np.arange(start, stop)[:, None] >> np.arange(n) & 1
        else:
            bits = generator.integers(0, 2, (stop - start, n))
        as_large += (np.abs((1.0 - 2.0 * bits) @ data) >= observed).sum(0)
    p_values[usable] = as_large / flips if exact else (as_large + 1) / (flips + 1)
    return p_values
