"""Correlations with damage against scipy's, on tables whose answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from resanalysis.experiments.stream_damage import CHEAP, _family, stream_damage


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


def test_p_values_are_corrected_over_the_measures() -> None:
    stream, lesion = tables()
    frame = stream_damage(stream, lesion)
    for _, family in frame.groupby(["damage", "transitions", "method"]):
        assert len(family) == 3
        order = family["p_value"].sort_values()
        running, expected = 0.0, {}
        for rank, (row, value) in enumerate(order.items()):
            running = max(running, min(1.0, (3 - rank) * value))
            expected[row] = running
        assert family["p_adjusted"].to_dict() == pytest.approx(expected)
    tells = frame["measure"].isin(["influence", "ratio"])
    assert (frame.loc[tells, "p_adjusted"] < 0.01).all()
    assert (frame.loc[~tells, "p_adjusted"] > 0.05).all()


def test_six_measures_of_nothing_rarely_tell_anything() -> None:
    rng = np.random.default_rng(5)
    stream, _ = tables()
    stream[["ratio", "influence", "cosine"]] = np.nan
    alarms = false = 0
    for _ in range(40):
        for name in CHEAP[:6]:
            stream[name] = rng.normal(size=12)
        damage = rng.random(12)
        family = _family(stream, damage, np.ones(12, bool), "spearman", 0.95, 0)
        assert len(family) == 6
        alarms += any(row["p_value"] < 0.05 for row in family)
        false += any(row["p_adjusted"] < 0.05 for row in family)
    assert alarms > 5
    assert false <= 6


def test_tables_of_two_networks_are_refused() -> None:
    stream, lesion = tables()
    with pytest.raises(
        ValueError, match="the stream table has 12 units, unit0 first, the lesion table 11"
    ):
        stream_damage(stream, lesion.iloc[:-1])
