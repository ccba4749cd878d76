"""Sentences of a report against tables whose answer is known."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pandas as pd
import pytest

from resanalysis.experiments import EXPERIMENTS
from resanalysis.figures.words import Finding
from tests.figures.frames import interactions_frame, scaling_frame, shapley_frame


def found(stem: str, frame: pd.DataFrame) -> list[Finding]:
    return import_module(f"resanalysis.figures.tables.{stem}").findings(frame)


def test_which_units_are_needed() -> None:
    frame = pd.DataFrame(
        {
            "unit": [-1, 0, 1, 2],
            "name": ["intact", "a", "b", "c"],
            "error": [0.1, 0.11, 0.5, np.nan],
            "delta": [0.0, 0.01, 0.4, np.nan],
            "delta_low": [0.0, -0.01, 0.35, np.nan],
            "delta_high": [0.0, 0.03, 0.45, np.nan],
            "p_holm": [1.0, 0.6, 1e-9, np.nan],
        }
    )
    frame.attrs["n"] = 2000
    needed, rest = found("lesion", frame)
    assert needed.text == (
        "The network needs 1 of its 2 units. It needs unit 1 (b) most: without it the error rises by 40.00 "
        "points."
    )
    assert needed.evidence == (
        "95 %: +35.00 to +45.00 points; exact McNemar tests, Holm over 2 units; N = 2,000"
    )
    (stopped, _) = found("lesion", frame.assign(seen=128))
    assert "tests by betting, valid when a unit stops, Holm over 2 units" in stopped.evidence
    assert rest.text.startswith("Of 1 other unit none is shown to be needed")
    assert "unit 0 (a), 95 %: −1.00 to +3.00 points" in rest.evidence


def many(means: list[float]) -> pd.DataFrame:
    mean = np.array(means)
    frame = pd.DataFrame({"removed": range(1, len(means) + 1), "draw": 0, "mean_error": mean})
    frame["mean_error_low"], frame["mean_error_high"] = mean - 0.004, mean + 0.004
    return frame.assign(intact_error=0.1, transitions_eligible=True)


def test_how_many_units_can_go_for_one_point() -> None:
    (one,) = found("lesion_many", many([0.101, 0.104, 0.108, 0.113, 0.12]))
    assert one.text == "3 units chosen at random can go for one point of error on average."
    assert one.evidence.startswith("2 to 4 by the ends of the mean's 95 % intervals")
    (none,) = found("lesion_many", many([0.13, 0.2]))
    assert none.text == (
        "Deleting 1 unit at random costs 3.00 points of error on average: more than one point."
    )


def test_a_later_dip_does_not_count() -> None:
    (one,) = found("lesion_many", many([0.101, 0.13, 0.102]))
    assert one.text.startswith("1 unit chosen at random")


def test_how_many_units_greedy_search_can_spare() -> None:
    frame = pd.DataFrame({"order": "greedy", "removed": [1, 2, 3], "delta": [-0.01, 0.005, 0.02]})
    frame["delta_low"], frame["delta_high"] = frame["delta"] - 0.01, frame["delta"] + 0.01
    (one,) = found("prune", frame)
    assert one.text.startswith(
        "2 units of 3, chosen by greedy search, can go for one point of error"
    )
    assert "with 2 gone, 95 %: −0.50 to +1.50 points" in one.evidence


@pytest.mark.parametrize(
    ("stem", "frame"),
    [
        ("shapley", shapley_frame(9)),
        ("interactions", interactions_frame(9)),
        ("scaling", scaling_frame()),
    ],
)
def test_sentences_end_and_have_evidence(stem: str, frame: pd.DataFrame) -> None:
    for finding in found(stem, frame):
        assert finding.text.endswith(".")
        assert "nan" not in finding.text + finding.evidence


def test_what_the_first_screen_must_say_has_words() -> None:
    there = {one.stem for one in EXPERIMENTS if hasattr(one.words, "findings")}
    assert {"lesion", "lesion_many", "gradients", "reorder", "rearrange", "prune"} <= there
