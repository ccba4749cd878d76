"""Correlations with damage against scipy's, on tables whose answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from resanalysis.experiments.stream_damage import CHEAP, stream_damage


def tables(units: int = 12) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(0)
    names = [f"unit{k}" for k in range(units)]
    damage = rng.random(units)
    stream = pd.DataFrame({"unit": range(units), "name": names, "transition": False})
    stream.loc[[4, 8], "transition"] = True
    for name in CHEAP:
        stream[name] = np.nan
    stream["influence"] = damage**2
    stream["ratio"] = -damage
    stream["cosine"] = rng.random(units)
    stream["bn_scale"] = 1.0  # says nothing: left out
    lesion = pd.DataFrame(
        {"unit": range(-1, units), "name": ["intact", *names], "error": [0.1, *(0.1 + damage / 2)],
         "loss": [0.3, *(0.3 + np.exp(damage) - 1)]}
    )  # fmt: skip
    return stream, lesion


def test_correlations() -> None:
    stream, lesion = tables()
    frame = stream_damage(stream, lesion)
    assert set(frame["measure"]) == {"influence", "ratio", "cosine"}
    found = frame.set_index(["measure", "damage", "transitions", "method"])["correlation"]
    assert found["influence", "loss", True, "kendall"] == pytest.approx(1)
    assert found["ratio", "error", True, "spearman"] == pytest.approx(-1)
    added = lesion["loss"].to_numpy()[1:]
    for method, scipy in (("kendall", stats.kendalltau), ("spearman", stats.spearmanr)):
        expected = scipy(stream["cosine"], added)[0]
        assert found["cosine", "loss", True, method] == pytest.approx(expected)
        inside = ~stream["transition"].to_numpy(bool)
        expected = scipy(stream["cosine"][inside], added[inside])[0]
        assert found["cosine", "loss", False, method] == pytest.approx(expected)
    assert frame.loc[frame["transitions"], "units"].eq(12).all()
    assert frame.loc[~frame["transitions"], "units"].eq(10).all()


def test_tables_of_two_networks_are_refused() -> None:
    stream, lesion = tables()
    with pytest.raises(
        ValueError, match="the stream table has 12 units, unit0 first, the lesion table 11"
    ):
        stream_damage(stream, lesion.iloc[:-1])
