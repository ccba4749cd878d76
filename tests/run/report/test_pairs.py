"""Models against each other: the numbers of the table, and two names of one file."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from resanalysis.run.report.pairs import on_page, one_file, pairs_table, same_in_words

FIRST = np.array([0, 0, 0, 0, 1, 1, 0, 0, 0, 0], dtype=float)
SECOND = np.array([1, 1, 1, 1, 1, 0, 1, 1, 1, 0], dtype=float)


def test_pairs_are_counted_on_the_same_examples() -> None:
    table = pairs_table({"a": FIRST, "b": SECOND, "c": FIRST})
    row = table.iloc[0]
    assert (row["error_a"], row["error_b"]) == (0.2, 0.8)
    assert row["difference"] == pytest.approx(-0.6)
    assert row["difference_low"] < -0.6 < row["difference_high"] < 0
    assert (row["n10"], row["n01"]) == (7, 1)
    assert row["p_value"] == pytest.approx(stats.binomtest(1, 8, 0.5).pvalue)
    same = table.iloc[1]
    assert (same["model_b"], same["difference"], same["p_value"]) == ("c", 0, 1)
    assert row["p_holm"] == pytest.approx(min(1, 3 * row["p_value"]))


def test_the_sentence_says_who_errs_less() -> None:
    better, *_ = on_page(pairs_table({"a": SECOND, "b": FIRST})).findings
    assert better.text == "b errs on 60.00 points fewer examples than a, which chance explains."
    assert "1 examples only a has right, 7 only b" in better.evidence
    many = pairs_table({"a": np.tile(FIRST, 9), "b": np.tile(SECOND, 9)})
    (surely,) = on_page(many).findings
    assert surely.text == "a errs on 60.00 points fewer examples than b."


def test_two_names_of_one_file_are_said_to_be_one() -> None:
    def of(model: str, digest: str | None) -> Any:
        return SimpleNamespace(model=model, model_sha256=digest)

    subjects = {
        "a": of("a.pt", "1" * 64),
        "b": of("b.pt", "1" * 64),
        "c": of("c", None),
        "d": of("d", None),
    }
    same = one_file(subjects)
    assert same == {"b": "a"}
    (said,) = same_in_words(same, subjects)
    assert said.startswith("b (b.pt) and a (a.pt) are one file, sha256 1111")
