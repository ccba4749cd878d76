"""What is found beside what was recorded: facts, means of table columns, tolerances, other models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from resanalysis.run.study import Arms, StudyError
from resanalysis.run.study_numbers import comparison, equivalences, found_of, table_mean

FACTS = {"a": [{"b": 2.0}], "c": [4, 10]}


def folder(out: Path, facts: dict[str, Any] = FACTS, **entry: Any) -> Path:
    out.mkdir(exist_ok=True)
    manifest = {"lesion": {"facts": facts, "model_sha256": "abcdef", **entry}}
    (out / "manifest.json").write_text(json.dumps(manifest))
    return out


def test_facts_by_path() -> None:
    assert found_of(FACTS, "a.0.b") == 2.0
    assert found_of(FACTS, "a.1.b") is None
    assert found_of(FACTS, "a.b") is None
    assert found_of(FACTS, "c") == [4, 10]


def test_tolerance(tmp_path: Path) -> None:
    out = folder(tmp_path)
    expected = {"a.0.b": 2.001, "c": [4, 10], "d": 1}
    assert comparison("s", expected, out)["same"].tolist() == [True, True, False]
    assert comparison("s", expected, out, rtol=1e-5)["same"].tolist() == [False, True, False]
    within = {"a.0.b": {"value": 2.3, "within": 0.31}}
    assert comparison("s", within, out)["same"].tolist() == [True]
    within = {"a.0.b": {"value": 2.3, "within": 0.29}}
    assert comparison("s", within, out)["same"].tolist() == [False]


def test_numbers_of_another_model_are_not_compared(tmp_path: Path) -> None:
    out = folder(tmp_path)
    assert comparison("s", {"model_sha256": "abc", "c": [4, 10]}, out)["same"].tolist() == [True]
    other = comparison("s", {"model_sha256": "bcd", "c": [4, 9]}, out)
    assert other["quantity"].tolist() == ["c"]
    assert other["same"].isna().all()


def test_a_mean_over_rows_of_a_table(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"unit": [-1, 0, 0], "model": ["a", "a", "b"], "error": [0.1, 0.2, 0.6], "none": [""] * 3}
    )
    table.to_csv(tmp_path / "lesion.csv", index=False)
    (tmp_path / "other.csv").write_text("error,rank\n9,1\n")
    assert table_mean(tmp_path, "error[unit=0]") == pytest.approx(0.4)
    assert table_mean(tmp_path, "error[unit=0, model=b]") == 0.6
    assert table_mean(tmp_path, "error[unit=-1,model=a]") == 0.1
    assert table_mean(tmp_path, "error[rank=1]") == 9
    (tmp_path / "empty.csv").write_text("layer,loss\n0,\n0,0.5\n1,\n")
    assert table_mean(tmp_path, "loss[layer=0]") == 0.5
    assert table_mean(tmp_path, "loss[layer=1]") is None
    assert table_mean(tmp_path, "error[unit=3]") is None
    for nothing in ("error[nothing=3]", "error[unit]", "[unit=0]", "error[]"):
        assert table_mean(tmp_path, nothing) is None
    found = comparison("s", {"error[unit=0]": 0.4}, folder(tmp_path))
    assert found["same"].tolist() == [True]


def test_arms_are_tested_when_all_their_trainings_are_there(tmp_path: Path) -> None:
    arms = Arms("effective paths", ("a0", "a1"), ("b0", "b1"), "test_error", 0.05)
    for name, error in {"a0": 0.060, "a1": 0.061, "b0": 0.062}.items():
        folder(tmp_path / name, {"test_error": error})
    assert len(equivalences([arms], tmp_path)) == 0
    folder(tmp_path / "b1", {"test_error": 0.060})
    (row,) = equivalences([arms], tmp_path).to_dict("records")
    assert row["name"] == "effective paths"
    assert row["difference"] == pytest.approx(-0.0005)
    assert row["equivalent"]
    folder(tmp_path / "b1", {})
    with pytest.raises(StudyError, match="b1 records no number test_error"):
        equivalences([arms], tmp_path)
