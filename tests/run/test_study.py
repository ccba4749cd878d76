"""Studies: what a file may say, what is compared, and a run from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from resanalysis.cli import app
from resanalysis.run.study import Step, StudyError, comparison, found_of, read_study, studies
from tests.conftest import ROOT

TEXT = """
title = "T"
authors = "A"
venue = "V 2016"
figures = ["1"]
[needs]
depth = "20"
[[run]]
name = "paths"
command = "resanalysis paths --depth {depth}"
[expected.paths]
units = 9
mean = 5.5
"""


def written(folder: Path, text: str = TEXT) -> Path:
    study = folder / "paper"
    study.mkdir(parents=True)
    (study / "study.toml").write_text(text)
    return study


def test_the_studies_that_ship_can_be_read_and_their_figures_are_there() -> None:
    found = studies(ROOT / "studies")
    assert {study.folder.name for study in found} >= {"he2015", "veit2016"}
    for study in found:
        page = (study.folder / "README.md").read_text()
        for image in study.folder.glob("*.png"):
            assert f"]({image.name})" in page
        for step in study.steps:
            words = step.words(dict(study.needs))
            assert words[0] in {str(command.name) for command in app.registered_commands}


def test_a_run_compares_with_what_was_recorded(tmp_path: Path) -> None:
    study = written(tmp_path / "studies")
    line = ["study", "run", str(study), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*line, "--set", "depth=20"])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "out" / "comparison.csv").set_index("quantity")
    assert (tmp_path / "out" / "paths" / "paths.csv").is_file()
    entry = json.loads((tmp_path / "out" / "paths" / "manifest.json").read_text())["paths"]
    assert table.loc["units", "found"] == entry["facts"].get("units")
    assert bool(table.loc["units", "same"]) == (entry["facts"].get("units") == 9)
    assert not table.loc["mean", "same"]
    shown = CliRunner().invoke(app, ["study", "list", "--studies", str(study.parent)])
    assert "paper  T (V 2016)" in shown.output
    assert "--set depth=20" in shown.output


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nothing"], 1, "holds no study.toml; there are paper"),
        (["paper", "--only", "no"], 1, "paper has no step no; there are paths"),
        (["paper", "--set", "x=1"], 2, "NAME one of"),
    ],
)
def test_bad_words(tmp_path: Path, words: list[str], code: int, message: str) -> None:
    written(tmp_path)
    line = ["study", "run", *words, "--studies", str(tmp_path), "--out", str(tmp_path / "o")]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == code
    assert message in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = 3 4", "study.toml"),
        ('title = "T"', "lacks or misspells 'run'"),
        (
            TEXT.replace("{depth}", "{other}"),
            r"step paths uses \{other\}, which \[needs\] does not",
        ),
        (TEXT.replace("resanalysis paths", "rm"), "step paths is no resanalysis command"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        read_study(written(tmp_path, text))


def test_facts_by_path_and_tolerance(tmp_path: Path) -> None:
    facts = {"a": [{"b": 2.0}], "c": [4, 10]}
    assert found_of(facts, "a.0.b") == 2.0
    assert found_of(facts, "a.1.b") is None
    entry = {"lesion": {"facts": facts}}
    (tmp_path / "manifest.json").write_text(json.dumps(entry))
    step = Step("s", "resanalysis lesion", {"a.0.b": 2.001, "c": [4, 10], "d": 1})
    assert comparison(step, tmp_path)["same"].tolist() == [True, True, False]
    assert comparison(step, tmp_path, rtol=1e-5)["same"].tolist() == [False, True, False]
    with pytest.raises(StudyError, match="step s needs --set file="):
        Step("s", "resanalysis lesion {file}").words({})
