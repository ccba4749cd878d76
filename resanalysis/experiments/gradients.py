"""The gradient by path length: Veit et al. 2016, Figure 6, sampled as there, and summed exactly."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
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
    Tape,
    draw_signs,
    freeze,
    length_gradients,
    random_sign_squares,
    residual_units,
)
from resanalysis.path_gradients.drawn import drawn_paths
from resanalysis.path_gradients.recorded import RecordedPasses
from resanalysis.provenance import Provenance
from resanalysis.routes.batches import Block, BlockStore
from resanalysis.statistics.bootstrap import Band, mean_band
from resanalysis.statistics.path_length import central_interval, path_counts
from resanalysis.statistics.path_norms import (
    Floats,
    decay_factor,
    in_words,
    mean_length,
    root_of_count,
    root_pseudo_values,
    times,
)

Method = Literal["exact", "sampled", "rms"]
METHODS: tuple[Method, ...] = get_args(Method)
DTYPES = {"float32": torch.float32, "float64": torch.float64}


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
    over = RecordedPasses.of(
        ready,
        limited,
        at,
        held=9 * (n + 1),
        batch_size=batch_size,
        store=store,
        show_progress=show_progress,
    )

    frame = pd.DataFrame(
        {
            "length": range(last + 1),
            "count": pd.Series(path_counts(n)[: last + 1], dtype=object),
        }
    )
    by_image: dict[str, Floats] = {}
    if "exact" in chosen:
        _add_exact(frame, over, seed)
    if "rms" in chosen:
        signs = draw_signs(n, repetitions, len(limited), seed)
        by_image["rms"] = _add_rms(frame, over, signs, seed)
    if "sampled" in chosen:
        drawn = drawn_paths(over, n, last, samples, precision, seed)
        _add_sampled(frame, [paths.norms for paths in drawn], seed)
        by_image["mean"] = np.stack([paths.images for paths in drawn])
    frame = frame.reindex(columns=_ORDER)
    frame["count"] = frame["count"].astype(object)
    frame.attrs = Provenance.of(
        network,
        limited,
        seed,
        at=at,
        methods=list(chosen),
        units=n,
        precision=None if samples is not None else precision,
        samples=samples,
        repetitions=repetitions,
        dtype=dtype,
        **_summary(frame, by_image, seed),
    ).facts()
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
    refused = [
        (
            bool(unknown) or not wanted,
            f"methods are exact, sampled and rms, got {unknown or 'none'}",
        ),
        (
            samples is not None and samples < 2,
            f"a mean with an interval needs at least 2 samples per length, got {samples}",
        ),
        (
            not 0 < precision < 1,
            f"precision is a relative standard error in (0, 1), got {precision}",
        ),
        (repetitions < 2, f"an interval needs at least 2 repetitions, got {repetitions}"),
        (
            (max_length or 0) < 0,
            f"the longest path has length 0 or more, got {max_length}",
        ),
        (dtype not in DTYPES, f"dtype is float32 or float64, got {dtype!r}"),
    ]
    for wrong, message in refused:
        if wrong:
            raise ResanalysisError(message)
    return tuple(name for name in METHODS if name in wanted)


def _add_exact(frame: pd.DataFrame, over: RecordedPasses, seed: int) -> None:
    last = len(frame) - 1

    def measure(tape: Tape, _: slice) -> Block:
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


def _add_rms(
    frame: pd.DataFrame, over: RecordedPasses, signs: NDArray[np.int8], seed: int
) -> Floats:
    """Fill in the columns; the norms (K, N) by image are returned."""
    last = len(frame) - 1

    def measure(tape: Tape, images: slice) -> Block:
        ours = signs[:, :, images]
        missing = len(tape.losses) - ours.shape[2]
        if missing:
            # A batch that was filled up holds examples that are not there; their signs count for nothing.
            ours = np.pad(ours, ((0, 0), (0, 0), (0, missing)), mode="edge")
        return {"squares": random_sign_squares(tape, ours, max_length=last).cpu().numpy()}

    values = root_pseudo_values(over.measure("rms", measure)["squares"])
    # √(Σ ‖g_S‖² / C(n, k)): the sum is over all paths of the length, the norm of one.
    band = mean_band(values.mean(axis=2).T, seed=seed)
    roots = np.array([root_of_count(count) for count in frame["count"]])
    frame["rms_norm"], frame["rms_norm_low"], frame["rms_norm_high"] = (
        ends / roots for ends in band
    )
    return values.mean(axis=0) / roots[:, None]


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


def _summary(frame: pd.DataFrame, by_image: Mapping[str, Floats], seed: int) -> dict[str, object]:
    """Effective lengths, mean lengths and decay factors, as plain numbers.

    Parameters
    ----------
    by_image : norms (K, N) of each image, of the curves ``mean`` and ``rms``.
    """
    facts: dict[str, object] = {}
    fitted = slice(None)
    for name, column in (("upper", "upper_share"), ("exact", "signed_share")):
        shares = frame[column].to_numpy(np.float64)
        if abs(shares.sum() - 1) < 1e-3:  # not where max_length left some of it out
            low, high = central_interval(list(np.abs(shares)))
            facts[f"effective_{name}"] = [int(low), int(high)]
            facts[f"mean_length_{name}"] = mean_length(shares)
            facts[f"peak_{name}"] = int(np.abs(shares).argmax())
            fitted = slice(int(low), int(high) + 1)  # the exact ones, if they are known
    lengths = frame["length"].to_numpy(np.float64)[fitted]
    for name, norms in by_image.items():
        decay = decay_factor(lengths, norms[fitted], seed=seed)
        if all(math.isfinite(end) for end in decay):
            facts[f"decay_{name}"] = list(decay)
            facts["decay_lengths"] = [int(lengths[0]), int(lengths[-1])]
    width = frame["mean_norm_high"] - frame["mean_norm_low"]
    facts["uncertain_lengths"] = [int(k) for k in frame["length"][width > frame["mean_norm"]]]
    return facts
