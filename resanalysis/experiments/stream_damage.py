"""Which cheap measure of a unit predicts the damage of its deletion."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from resanalysis.errors import ResanalysisError
from resanalysis.statistics.intervals import rank_correlation

Damage = Literal["error", "loss"]
Method = Literal["kendall", "spearman"]

CHEAP = (
    "branch_norm", "skip_norm", "ratio", "cosine", "influence", "gradient_cosine", "gate", "bn_scale",
    "scale",
)  # fmt: skip


def stream_damage(
    stream: pd.DataFrame, lesion: pd.DataFrame, *, level: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Rank correlation of each measure of ``stream`` with the measured damage of ``lesion``.

    Damage is what deleting the unit adds to the error, or to the loss. Correlations are taken over all
    units, and once more without the transitions, which differ from the others in kind and can carry a
    correlation alone.

    Parameters
    ----------
    stream, lesion : the tables of these experiments, of one network.

    Returns
    -------
    DataFrame : ``measure``, ``damage`` (``error`` or ``loss``), ``transitions`` (whether they count),
        ``method`` (``kendall`` τ_b or ``spearman`` ρ), ``correlation`` with its bootstrap interval
        over units, ``units``. Measures that fewer than three units have, or whose values are all
        equal, are left out.

    Raises
    ------
    ResanalysisError : if the tables are of different networks.

    Source: the question is that of Men et al. 2024 and of Jastrzębski et al. 2018; Kendall 1945, Spearman 1904.
    """
    alone = lesion.loc[lesion["unit"] >= 0].set_index("unit")
    intact = lesion.loc[lesion["unit"] == -1]
    if list(alone["name"]) != list(stream["name"]) or len(intact) != 1:
        raise ResanalysisError(
            f"the stream table has {len(stream)} units, {stream['name'].iloc[0]} first, the lesion table "
            f"{len(alone)}, {alone['name'].iloc[0] if len(alone) else 'none'} first: measure both on one "
            "network"
        )
    rows: list[dict[str, Any]] = []
    for damage in get_args(Damage):
        added = alone[damage].to_numpy(np.float64) - float(intact[damage].iloc[0])
        for transitions in (True, False):
            eligible = (
                np.ones(len(stream), bool) if transitions else ~stream["transition"].to_numpy(bool)
            )
            if not transitions and eligible.all():
                continue
            for measure in CHEAP:
                values = stream[measure].to_numpy(np.float64)
                known = np.isfinite(values) & np.isfinite(added) & eligible
                if known.sum() < 3 or np.ptp(values[known]) == 0 or np.ptp(added[known]) == 0:
                    continue
                for method in get_args(Method):
                    found = rank_correlation(
                        values[known], added[known], method, level=level, seed=seed
                    )
                    rows.append(
                        {
                            "measure": measure,
                            "damage": damage,
                            "transitions": transitions,
                            "method": method,
                            "correlation": found.mean,
                            "correlation_low": found.low,
                            "correlation_high": found.high,
                            "units": int(known.sum()),
                        }
                    )
    columns = ["measure", "damage", "transitions", "method", "correlation", "correlation_low",
               "correlation_high", "units"]  # fmt: skip
    frame = pd.DataFrame(rows, columns=columns)
    frame.attrs = {key: lesion.attrs.get(key) for key in ("model", "data", "n", "subset", "seed")}
    frame.attrs |= {"interval": "bootstrap over units", "level": level}
    return frame
