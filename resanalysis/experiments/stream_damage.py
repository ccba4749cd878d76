"""Which cheap measure of a unit predicts the damage of its deletion."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resanalysis.errors import ResanalysisError
from resanalysis.statistics.correlation import Method, rank_correlation, rank_correlation_p
from resanalysis.statistics.significance import holm

Damage = Literal["error", "loss"]

CHEAP = (
    "branch_norm", "skip_norm", "ratio", "cosine", "influence", "gradient_cosine", "gate", "bn_scale",
    "scale",
)  # fmt: skip
COLUMNS = (
    "measure", "damage", "transitions", "method", "correlation", "correlation_low",
    "correlation_high", "units", "p_value", "p_adjusted",
)  # fmt: skip


def stream_damage(
    stream: pd.DataFrame, lesion: pd.DataFrame, *, level: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Rank correlation of each measure of ``stream`` with the measured damage of ``lesion``.

    Damage is what deleting the unit adds to the error, or to the loss. Correlations are taken over all
    units, and once more without the transitions, which differ from the others in kind and can carry a
    correlation alone. Of several measures the best one looks good by chance, so p-values are adjusted for
    their number.

    Parameters
    ----------
    stream, lesion : the tables of these experiments, of one network; of different examples, so that no
        correlation comes from both having been measured on the same ones.

    Returns
    -------
    DataFrame : ``measure``, ``damage`` (``error`` or ``loss``), ``transitions`` (whether they count),
        ``method`` (``kendall`` τ_b or ``spearman`` ρ), ``correlation`` with its bootstrap interval
        over units, ``units``, ``p_value`` by permutation of the units, and ``p_adjusted`` after Holm over
        the measures of one damage, choice of units and method. Measures that fewer than three units have,
        or whose values are all equal, are left out.

    Raises
    ------
    ResanalysisError : if the tables are of different networks.

    Source: the question is that of Men et al. 2024 and of Jastrzębski et al. 2018; Kendall 1945, Spearman 1904.
    """
    alone = lesion.loc[lesion["unit"] >= 0].set_index("unit")
    intact = lesion.loc[lesion["unit"] == -1]
    if list(alone["name"]) != list(stream["name"]) or len(intact) != 1:
        raise ResanalysisError(_of_two_networks(stream, alone))
    every = np.ones(len(stream), bool)
    inside = ~stream["transition"].to_numpy(bool)
    families = [
        (damage, transitions, method)
        for damage in get_args(Damage)
        for transitions in (True, False)
        if transitions or not inside.all()
        for method in get_args(Method)
    ]
    rows: list[dict[str, Any]] = []
    for damage, transitions, method in families:
        added = alone[damage].to_numpy(np.float64) - float(intact[damage].iloc[0])
        facts = {"damage": damage, "transitions": transitions, "method": method}
        found = _family(stream, added, every if transitions else inside, method, level, seed)
        rows += [one | facts for one in found]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame.attrs = {key: lesion.attrs.get(key) for key in ("model", "data", "n", "subset", "seed")}
    frame.attrs |= {"interval": "bootstrap over units", "level": level}
    frame.attrs["measured_on"] = stream.attrs.get("subset") or stream.attrs.get("data")
    return frame


def _of_two_networks(stream: pd.DataFrame, alone: pd.DataFrame) -> str:
    return (
        f"the stream table has {len(stream)} units, {stream['name'].iloc[0]} first, the lesion table "
        f"{len(alone)}, {alone['name'].iloc[0] if len(alone) else 'none'} first: measure both on one network"
    )


def _family(
    stream: pd.DataFrame,
    added: NDArray[np.float64],
    eligible: NDArray[np.bool_],
    method: Method,
    level: float,
    seed: int,
) -> list[dict[str, Any]]:
    """Every measure against one damage, over some units: tests that are corrected for each other."""
    rows: list[dict[str, Any]] = []
    for measure in CHEAP:
        # Correlations of what does not vary are not defined, and of two pairs always 1.
        values = stream[measure].to_numpy(np.float64)
        known = np.isfinite(values) & np.isfinite(added) & eligible
        if known.sum() < 3 or np.ptp(values[known]) == 0 or np.ptp(added[known]) == 0:
            continue
        pairs = values[known], added[known]
        found = rank_correlation(*pairs, method, level=level, seed=seed)
        rows.append(
            {
                "measure": measure,
                "correlation": found.mean,
                "correlation_low": found.low,
                "correlation_high": found.high,
                "units": int(known.sum()),
                "p_value": rank_correlation_p(*pairs, method, seed=seed),
            }
        )
    adjusted = holm([row["p_value"] for row in rows])
    return [row | {"p_adjusted": float(p)} for row, p in zip(rows, adjusted, strict=True)]
