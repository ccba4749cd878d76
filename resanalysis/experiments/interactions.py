"""Do units depend on each other? Every two of them deleted together, against each alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from resanalysis.datasets import Dataset
from resanalysis.errors import ResanalysisError
from resanalysis.network import ResidualNetwork
from resanalysis.provenance import Provenance
from resanalysis.routes.evaluator import BlockStore, Scores, evaluate
from resanalysis.routes.route import without
from resanalysis.routes.scores import margin
from resanalysis.statistics.bootstrap import mean_band
from resanalysis.statistics.explained import explained_variance
from resanalysis.statistics.sign_flip import sign_flip_p
from resanalysis.statistics.significance import false_discovery

Floats = NDArray[np.float64]

# Of each kind of pair, as many are named in the manifest.
STRONGEST = 5
# Of what damage is taken: the score, the start of its columns, and whether more of it is worse.
TAKEN = (("loss", "", 1), ("metric", "margin_", -1), ("error", "error_", 1))


def interactions(
    network: ResidualNetwork,
    data: Dataset,
    *,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    store: BlockStore | None = None,
    show_progress: bool = False,
) -> pd.DataFrame:
    """Delete every two units together and compare the damage with the sum of the two single damages.

    Damage is what the deletion adds to the mean loss, to the error, or takes from the margin (the true class's
    logit above the largest other), on the same examples. The interaction of a and b is the damage of both
    less the damage of a less the damage of b: above 0 where they stand in for each other, so that both together
    cost more than the two apart (redundant); below 0 where one is of little use without the other
    (synergistic), or where the damage cannot grow further. All n(n−1)/2 pairs share their prefixes, which
    takes about n³/6 unit evaluations an example.

    Parameters
    ----------
    network : the unraveled view.
    data : at least two examples, with labels.
    batch_size, device, store, show_progress : how it runs; they change no number.
    seed : of the flips of the test and of the bootstrap.

    Returns
    -------
    DataFrame : a row for each pair of units that can be deleted, ``unit_a`` before ``unit_b``:
        ``damage_a``, ``damage_b``, ``damage_ab``, ``interaction`` with its BCa interval over examples,
        ``p_value`` of a sign-flip test of the examples' interactions, ``p_fdr`` corrected over pairs
        (Benjamini and Hochberg), all in the loss (nats); the same of the margin (logits) and the error
        under names that begin with ``margin_`` and ``error_``; ``name_a``, ``name_b``, ``stage_a``,
        ``stage_b``, ``distance`` (units from a to b). ``attrs`` hold what ``summary`` finds, and for each
        score under ``explained`` the share of the variance of ``damage_ab`` that the sum of the single damages
        explains, with its interval; the same among pairs without the unit ``largest``, whose damage is the
        largest (``others``); and ``size``, the sizes of all interactions over those of all ``damage_ab``.

    Raises
    ------
    ResanalysisError : without labels, or with fewer than two units that can be deleted.

    Source: Veit et al. 2016, §4, whose claim it tests; epistasis as in genetics.
    """
    units = _deletable(network, data)
    deleted = [gone for count in (0, 1, 2) for gone in combinations(units, count)]
    scores = evaluate(
        network,
        [without(network, gone) for gone in deleted],
        data,
        metric=margin,
        batch_size=batch_size,
        device=device,
        store=store,
        show_progress=show_progress,
        description=f"interactions of {len(units) * (len(units) - 1) // 2} pairs",
    )
    frame, explained = _measured(scores, units, seed)
    for end in ("a", "b"):
        frame[f"name_{end}"] = [network.units[unit].name for unit in frame[f"unit_{end}"]]
    for end in ("a", "b"):
        frame[f"stage_{end}"] = [network.units[unit].stage for unit in frame[f"unit_{end}"]]
    frame["distance"] = frame["unit_b"] - frame["unit_a"]
    frame.attrs = Provenance.of(
        network,
        data,
        seed,
        left_out=sorted(set(range(len(network))) - set(units)),
        explained=explained,
        **summary(frame),
    ).facts()
    return frame


def _deletable(network: ResidualNetwork, data: Dataset) -> list[int]:
    """The units that pairs are made of, where there are pairs and something to measure."""
    if not data.labelled:
        raise ResanalysisError(
            f"{data.name} has no labels, and interactions are of losses, margins and errors: name data "
            "with labels"
        )
    units = [unit.index for unit in network.units if unit.deletable]
    if len(units) < 2:
        raise ResanalysisError(
            f"an interaction is of two units: {len(units)} of {network.name} can be deleted"
        )
    return units


def _measured(
    scores: Scores, units: Sequence[int], seed: int
) -> tuple[pd.DataFrame, dict[str, dict[str, float]]]:
    """The columns of every score, and how far each is additive.

    Parameters
    ----------
    scores : of the intact network, of each unit alone, of all pairs.
    """
    frame = pd.DataFrame(list(combinations(units, 2)), columns=["unit_a", "unit_b"])
    place = np.array(list(combinations(range(len(units)), 2)))
    explained: dict[str, dict[str, float]] = {}
    for score, prefix, sign in TAKEN:
        # Damage is what grows: a margin falls.
        worse = sign * scores.values[score].astype(np.float64)
        single = worse[1 : 1 + len(units)] - worse[0]
        both = worse[1 + len(units) :] - worse[0]
        first, second = single[place[:, 0]], single[place[:, 1]]
        for name, column in _columns(first, second, both, seed).items():
            frame[prefix + name] = column
        largest = int(np.abs(single.mean(1)).argmax())
        found = _additivity(first + second, both, (place != largest).all(1), seed)
        explained[prefix.rstrip("_") or score] = {**found, "largest": units[largest]}
    return frame, explained


def _columns(first: Floats, second: Floats, both: Floats, seed: int) -> dict[str, Floats]:
    """Columns of one score from the damage (pairs, N) of one unit, of the other, and of both."""
    joint = both - first - second
    interval = mean_band(joint, seed=seed)
    p_values = sign_flip_p(joint.T, seed=seed)
    return {
        "damage_a": first.mean(1),
        "damage_b": second.mean(1),
        "damage_ab": both.mean(1),
        "interaction": interval.mean,
        "interaction_low": interval.low,
        "interaction_high": interval.high,
        "p_value": p_values,
        "p_fdr": false_discovery(p_values),
    }


def _additivity(
    additive: Floats, both: Floats, others: NDArray[np.bool_], seed: int
) -> dict[str, float]:
    """How far the damage of both (pairs, N) is the sum of the single damages.

    One unit whose damage is a hundred times the rest makes nearly all the variance, and its own damage explains
    it: so the share is also taken among the ``others``, the pairs without the unit of the largest damage.
    """
    share = explained_variance(both, additive, seed=seed)
    among = explained_variance(both[others], additive[others], seed=seed) if others.any() else None
    size = np.abs(both.mean(1)).sum()
    return {
        **share._asdict(),
        "others": np.nan if among is None else among.mean,
        "others_low": np.nan if among is None else among.low,
        "others_high": np.nan if among is None else among.high,
        "size": float(np.abs((both - additive).mean(1)).sum() / size) if size else np.nan,
    }


def summary(frame: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Who interacts with whom, in the loss.

    Returns
    -------
    dict : ``redundant`` and ``synergistic``, the pairs with the largest interactions above and below 0;
        ``by_distance`` and ``by_stage``, the number of pairs there, the mean of their interactions and of
        their sizes. Noise makes the size of an interaction larger, never smaller.
    """
    strongest = frame.iloc[np.argsort(-frame["interaction"].to_numpy(float), kind="stable")]
    above = strongest.loc[strongest["interaction"] > 0].head(STRONGEST)
    below = strongest.loc[strongest["interaction"] < 0].iloc[::-1].head(STRONGEST)
    named = ["unit_a", "unit_b", "interaction", "p_fdr"]
    return {
        "redundant": _records(above[named]),
        "synergistic": _records(below[named]),
        "by_distance": _grouped(frame, ["distance"]),
        "by_stage": _grouped(frame, ["stage_a", "stage_b"]),
    }


def _grouped(frame: pd.DataFrame, by: Sequence[str]) -> list[dict[str, Any]]:
    found = (
        frame.assign(size=frame["interaction"].abs())
        .groupby(list(by))
        .agg(pairs=("size", "size"), mean_abs=("size", "mean"), mean=("interaction", "mean"))
    )
    return _records(found.reset_index())


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
