"""The gradient by path length: Veit et al. 2016, Figure 6, sampled as there, and summed exactly."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from resanalysis.datasets import Dataset
from resanalysis.errors import ResanalysisError
from resanalysis.network import ResidualNetwork
from resanalysis.path_gradients import (
    At,
    Masks,
    Tape,
    draw_signs,
    draw_subsets,
    freeze,
    length_gradients,
    path_norms,
    random_sign_squares,
    residual_units,
)
from resanalysis.path_gradients.over_images import Arrays, OverImages, chosen_size, stream_bytes
from resanalysis.routes.evaluator import BlockStore, free_memory
from resanalysis.statistics.path_length import central_interval, path_counts
from resanalysis.statistics.path_norms import (
    Band,
    Floats,
    decay_factor,
    in_words,
    mean_band,
    mean_length,
    relative_error,
    root_of_count,
    root_pseudo_values,
    times,
)

Method = Literal["exact", "sampled", "rms"]
METHODS: tuple[Method, ...] = get_args(Method)
DTYPES = {"float32": torch.float32, "float64": torch.float64}
_FIRST_SAMPLES, _MOST_SAMPLES = 32, 512


def gradients(
    network: ResidualNetwork,
    data: Dataset,
    *,
    method: Method | Sequence[Method] = METHODS,
    at: At = "input",
    images: int | None = 32,
    samples: int | None = None,
    precision: float = 0.2,
    repetitions: int = 20,
    max_length: int | None = None,
    dtype: Literal["float32", "float64"] = "float32",
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    store: BlockStore | None = None,
    show_progress: bool = False,
) -> pd.DataFrame:
    """Size of the gradient that paths of each length carry, on the intact network in eval mode.

    Norms are Euclidean, of one image's gradient of its own cross-entropy, averaged over images.

    Parameters
    ----------
    network, data : what is measured; the data needs labels.
    method : one or more of ``"exact"`` (the sum over all paths of a length), ``"sampled"`` (the mean
        norm of single paths, as in the paper) and ``"rms"`` (their root-mean-square norm, by random
        signs).
    at : ``"input"``, or ``"first-unit"``: the stream before the first unit (for token models).
    images : a seeded stratified subset of so many; ``None`` for all. One image costs the exact sum n/2
        backward passes and a sampled path about a quarter of one.
    samples : paths per length; if left out they are doubled from 32 until the standard error of the mean
        is below ``precision`` times the mean, 512 at most. Lengths with no more paths are listed.
    repetitions : draws of random signs.
    max_length : longest path to follow.

    Returns
    -------
    DataFrame : one row per length with ``count`` (exact); ``mean_norm`` of a path and its bootstrap
        interval over paths, ``median_norm``, ``q25_norm``, ``q75_norm``, ``samples``, ``listed``;
        ``rms_norm`` and its interval over repetitions; ``total_upper``, count × mean norm, an upper
        bound on ``sum_norm``, ‖G_k‖; ``signed_share``, ⟨G_k, g⟩/‖g‖² with its interval over images;
        ``upper_share``, of the total of ``total_upper`` over all lengths. What was not asked
        for is NaN. ``attrs`` has effective lengths, mean lengths and decay factors per unit.

    Raises
    ------
    ResanalysisError : for options that make no sense, data without labels, a network without skips.

    Source: Veit et al. 2016, §5; the recursions are derived in docs/gradients.md.
    """
    chosen = _checked(method, samples, precision, repetitions, max_length, dtype)
    limited = data if images is None else data.limited(images, seed)
    ready = freeze(network, device, DTYPES[dtype])
    n = residual_units(ready)
    last = n if max_length is None else min(max_length, n)
    size = chosen_size(ready, 9 * (n + 1), len(limited), batch_size)
    over = OverImages(ready, limited, at, size, store, show_progress)

    frame = pd.DataFrame(
        {
            "length": range(last + 1),
            "count": pd.Series(path_counts(n)[: last + 1], dtype=object),
        }
    )
    if "exact" in chosen:
        _add_exact(frame, over, seed)
    if "rms" in chosen:
        _add_rms(frame, over, draw_signs(n, repetitions, len(limited), seed), seed)
    if "sampled" in chosen:
        _add_sampled(frame, _sampled(over, n, last, samples, precision, seed), seed)
    frame = frame.reindex(columns=_ORDER)
    frame["count"] = frame["count"].astype(object)
    frame.attrs = {
        "model": network.name,
        "data": data.name,
        "n": len(limited),
        "subset": limited.subset,
        "seed": seed,
        "at": at,
        "methods": list(chosen),
        "units": n,
        "precision": None if samples is not None else precision,
        "samples": samples,
        "repetitions": repetitions,
        "dtype": dtype,
        "batch_norm": "running statistics",
        **_summary(frame),
    }
    uncertain = frame.attrs["uncertain_lengths"]
    if uncertain:
        warnings.warn(
            f"the interval of mean_norm is wider than the mean at lengths {in_words(uncertain)}: a few paths "
            "dominate; give more samples, or use rms and exact",
            stacklevel=2,
        )
    return frame


_ORDER = [
    "length",
    "count",
    "mean_norm",
    "mean_norm_low",
    "mean_norm_high",
    "rms_norm",
    "total_upper",
    "sum_norm",
    "signed_share",
    "median_norm",
    "q25_norm",
    "q75_norm",
    "samples",
    "listed",
    "rms_norm_low",
    "rms_norm_high",
    "signed_share_low",
    "signed_share_high",
    "upper_share",
]


def _checked(
    method: Method | Sequence[Method],
    samples: int | None,
    precision: float,
    repetitions: int,
    max_length: int | None,
    dtype: str,
) -> tuple[Method, ...]:
    wanted = (method,) if isinstance(method, str) else tuple(method)
    unknown = [name for name in wanted if name not in METHODS]
    if unknown or not wanted:
        raise ResanalysisError(f"methods are exact, sampled and rms, got {unknown or 'none'}")
    if samples is not None and samples < 2:
        raise ResanalysisError(
            f"a mean with an interval needs at least 2 samples per length, got {samples}"
        )
    if not 0 < precision < 1:
        raise ResanalysisError(f"precision is a relative standard error in (0, 1), got {precision}")
    if repetitions < 2:
        raise ResanalysisError(f"an interval needs at least 2 repetitions, got {repetitions}")
    if max_length is not None and max_length < 0:
        raise ResanalysisError(f"the longest path has length 0 or more, got {max_length}")
    if dtype not in DTYPES:
        raise ResanalysisError(f"dtype is float32 or float64, got {dtype!r}")
    return tuple(name for name in METHODS if name in wanted)


def _add_exact(frame: pd.DataFrame, over: OverImages, seed: int) -> None:
    last = len(frame) - 1

    def measure(tape: Tape, _: slice) -> Arrays:
        found = length_gradients(tape, max_length=last)
        return {"norms": found.norms.cpu().numpy(), "shares": found.shares.cpu().numpy()}

    found = over.measure("exact", measure)
    frame["sum_norm"] = found["norms"].mean(axis=1)
    shares = found["shares"]
    used = shares[:, np.isfinite(shares).all(axis=0)]  # an image without gradient has no shares
    if used.shape[1]:
        band = mean_band(used, seed=seed)
        frame["signed_share"] = band.mean
        frame["signed_share_low"], frame["signed_share_high"] = band.low, band.high


def _add_rms(frame: pd.DataFrame, over: OverImages, signs: NDArray[np.int8], seed: int) -> None:
    last = len(frame) - 1

    def measure(tape: Tape, images: slice) -> Arrays:
        ours = signs[:, :, images]
        missing = len(tape.losses) - ours.shape[2]
        if missing:
            ours = np.pad(ours, ((0, 0), (0, 0), (0, missing)), mode="edge")
        return {"squares": random_sign_squares(tape, ours, max_length=last).cpu().numpy()}

    squares = over.measure("rms", measure)["squares"]
    band = mean_band(root_pseudo_values(squares).T, seed=seed)
    roots = [root_of_count(count) for count in frame["count"]]
    frame["rms_norm"], frame["rms_norm_low"], frame["rms_norm_high"] = (
        np.array([end / root for end, root in zip(ends, roots, strict=True)]) for ends in band
    )


def _sampled(
    over: OverImages, n: int, last: int, samples: int | None, precision: float, seed: int
) -> list[Floats]:
    """For each length, the norms (M,) of M paths, averaged over images."""
    norms: list[Floats] = [np.empty(0) for _ in range(last + 1)]
    target = samples or _FIRST_SAMPLES
    pending = list(range(last + 1))
    while pending:
        drawn = [draw_subsets(n, k, target, seed) for k in pending]
        listed = [_listed(n, k, target) for k in pending]
        kept = [0 if whole else len(norms[k]) for k, whole in zip(pending, listed, strict=True)]
        masks = np.concatenate([d[first:] for d, first in zip(drawn, kept, strict=True)])

        def measure(tape: Tape, _: slice, masks: Masks = masks) -> Arrays:
            one = len(tape.losses) * stream_bytes(over.network)
            at_once = max(1, min(64, free_memory(over.network.device) // (16 * one)))
            return {"norms": path_norms(tape, masks, at_once=at_once).numpy()}

        found = over.measure(f"sampled {target}", measure)["norms"].mean(axis=1)
        for k, first, d in zip(pending, kept, drawn, strict=True):
            fresh, found = np.split(found, [len(d) - first])
            norms[k] = np.concatenate([norms[k][:first], fresh])
        if samples is not None or target >= _MOST_SAMPLES:
            break
        pending = [
            k
            for k, whole in zip(pending, listed, strict=True)
            if not whole and relative_error(norms[k]) > precision
        ]
        target *= 2
    return norms


def _listed(units: int, length: int, samples: int) -> bool:
    return math.comb(units, length) <= samples


def _add_sampled(frame: pd.DataFrame, norms: list[Floats], seed: int) -> None:
    rows: list[dict[str, float]] = []
    for count, values in zip(frame["count"], norms, strict=True):
        listed = len(values) == count
        mean = float(values.mean())
        band = Band(*(np.array([mean]),) * 3) if listed else mean_band(values[None], seed=seed)
        q25, median, q75 = np.quantile(values, [0.25, 0.5, 0.75])
        rows.append(
            {
                "mean_norm": mean,
                "mean_norm_low": float(band.low[0]),
                "mean_norm_high": float(band.high[0]),
                "total_upper": times(mean, count),
                "median_norm": median,
                "q25_norm": q25,
                "q75_norm": q75,
                "samples": len(values),
                "listed": listed,
            }
        )
    for name, column in pd.DataFrame(rows).items():
        frame[name] = column
    total = float(np.asarray(frame["total_upper"], dtype=np.float64).sum())
    whole = len(frame) == 1 + sum(frame["count"][1:2])  # n paths have length 1
    frame["upper_share"] = frame["total_upper"] / total if whole and total > 0 else np.nan


def _summary(frame: pd.DataFrame) -> dict[str, object]:
    """Effective lengths, mean lengths and decay factors, as plain numbers."""
    facts: dict[str, object] = {}
    lengths = frame["length"].to_numpy(np.float64)
    for name, column in (("exact", "signed_share"), ("upper", "upper_share")):
        shares = frame[column].to_numpy(np.float64)
        if abs(shares.sum() - 1) < 1e-3:  # not where max_length left some of it out
            low, high = central_interval(list(np.abs(shares)))
            facts[f"effective_{name}"] = [int(low), int(high)]
            facts[f"mean_length_{name}"] = mean_length(shares)
            facts[f"peak_{name}"] = int(np.abs(shares).argmax())
    for name, column in (("mean", "mean_norm"), ("rms", "rms_norm")):
        decay = decay_factor(lengths, frame[column].to_numpy(np.float64))
        if math.isfinite(decay.mean):
            facts[f"decay_{name}"] = list(decay)
    width = frame["mean_norm_high"] - frame["mean_norm_low"]
    facts["uncertain_lengths"] = [int(k) for k in frame["length"][width > frame["mean_norm"]]]
    return facts
