"""Studies: what a file may say, at which scale, and that those that ship can be read and run."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from resanalysis.cli import app
from resanalysis.run.study import (
    SCALES,
    Step,
    Study,
    StudyError,
    names_in,
    read_study,
    shipped_studies,
    studies,
)
from tests.conftest import ROOT

TEXT = """
title = "T"
authors = "A"
venue = "V 2016"
figures = ["1"]
[needs]
depth = "20"
seed = { full = "7" }
[[run]]
name = "paths"
command = "resanalysis paths --depth {depth}"
[[run]]
name = "again"
scales = ["full"]
command = "resanalysis paths --units {seed} --survival {out}/paths/paths.csv"
[expected.small.paths]
units = 9
"""
PAPERS = {
    "veit2016",
    "he2015",
    "he2016",
    "highway2015",
    "stochastic_depth2016",
    "jastrzebski2018",
    "greff2017",
    "painters2024",
}


def written(folder: Path, text: str = TEXT) -> Path:
    study = folder / "paper"
    study.mkdir(parents=True)
    (study / "study.toml").write_text(text)
    return study


def test_what_runs_at_which_scale(tmp_path: Path) -> None:
    study = read_study(written(tmp_path))
    assert [step.name for step in study.at("small")] == ["paths"]
    assert [step.name for step in study.at("full")] == ["paths", "again"]
    assert study.values("small") == {"depth": "20"}
    assert study.values("full") == {"depth": "20", "seed": "7"}
    assert study.steps[0].expected == {"small": {"units": 9}}
    assert study.steps[1].after() == {"paths"}
    with pytest.raises(StudyError, match="step s needs --set file="):
        Step("s", "resanalysis lesion {file}").words({})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = 3 4", "study.toml"),
        ('title = "T"', "lacks or misspells 'authors'"),
        ("x = " + "[" * 5000, "recursion"),
        (
            TEXT.replace("{depth}", "{other}"),
            r"step paths uses \{other\}, which \[needs\] does not",
        ),
        (
            TEXT.replace("--depth {depth}", "--units {seed}"),
            r"step paths uses \{seed\}, which \[needs\] does not have",
        ),
        (TEXT.replace("resanalysis paths --depth", "rm"), "step paths is no resanalysis command"),
        (TEXT.replace('["full"]', '["half"]'), "runs at scale half, which is none of small, full"),
        (TEXT.replace("{out}/paths", "{out}/later"), "reads what step later writes: no step befo"),
        (
            TEXT.replace("[expected.small.paths]\nunits", "[expected.small]\npaths"),
            "misspells 'int'",
        ),
        (
            TEXT
            + "[[equivalence]]\nname = 'n'\none = ['a']\nother = []\nquantity = 'q'\nmargin = 1",
            "equivalence n compares step a, which there is none of",
        ),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        read_study(written(tmp_path, text))


def shipped() -> list[Study]:
    return studies(ROOT / "studies")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(TEXT)
    with pytest.raises(StudyError, match=r"is a file; name the folder that holds study\.toml"):
        read_study(tmp_path / "study.toml")


def test_every_paper_has_a_study_and_they_come_with_the_package() -> None:
    assert {study.folder.name for study in shipped()} == PAPERS
    assert shipped_studies().resolve() == (ROOT / "studies").resolve()


@pytest.mark.parametrize("study", shipped(), ids=lambda study: study.folder.name)
def test_every_step_is_a_command_there_is(study: Study) -> None:
    group: Any = get_command(app)
    for scale in SCALES:
        values = {**study.values(scale), "out": "results", "study": str(study.folder)}
        assert study.at(scale), f"nothing to run at scale {scale}"
        for step in study.at(scale):
            command, *words = step.words(values)
            group.commands[command].make_context(command, words)
        used = {name for step in study.at(scale) for name in names_in(step.command)}
        assert set(study.values(scale)) <= used, "a need that nothing needs"


@pytest.mark.parametrize("study", shipped(), ids=lambda study: study.folder.name)
def test_the_small_scale_needs_nothing_that_is_not_here(study: Study) -> None:
    """But for training data, which are a user's own, every model and data set ships."""
    files = [
        value
        for name, value in study.values("small").items()
        if name != "training" and not re.fullmatch(r"[\w-]+", value)
    ]
    assert all(value.startswith("bundled:") for value in files)


@pytest.mark.parametrize("study", shipped(), ids=lambda study: study.folder.name)
def test_every_page_shows_its_figures_and_says_what_was_not_run(study: Study) -> None:
    texts = [path.read_text(encoding="utf-8") for path in sorted(study.folder.glob("*.md"))]
    page = "\n".join(texts)
    assert "not run" in page.lower()
    assert f"resanalysis study run {study.folder.name}" in page
    shown = set(re.findall(r"\]\(([\w.-]+\.png)\)", page))
    assert shown == {image.name for image in study.folder.glob("*.png")}


def test_the_published_curves_are_the_papers_five_networks() -> None:
    """One point for each 3×3 layer, 6n + 1 of them; the two panels, read off apart, agree."""
    with (ROOT / "studies" / "he2015" / "published_figure7.csv").open() as file:
        rows = list(csv.DictReader(file))
    for net, layers in {"plain-20": 19, "plain-56": 55, "ResNet-110": 109}.items():
        curves = {
            order: [float(row["std"]) for row in rows if (row["net"], row["order"]) == (net, order)]
            for order in ("orig", "sorted")
        }
        assert len(curves["orig"]) == layers
        if len(curves["sorted"]) == layers:  # of equal neighbours the drawing has one point
            found = sorted(curves["orig"], reverse=True)
            assert np.abs(np.subtract(found, curves["sorted"])).max() < 0.05


def test_the_page_on_studies_shows_one_that_can_be_read(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```toml\n(.*?)^```$", page, re.S | re.M)
    study = read_study(written(tmp_path, text))
    assert [step.name for step in study.at("full")] == ["lesion", "train", "again"]
    assert all(f"studies/{name}/README.md" in page for name in PAPERS)


def test_the_list_shows_each_study_with_what_can_be_set(tmp_path: Path) -> None:
    written(tmp_path)
    shown = CliRunner().invoke(app, ["study", "list", "--studies", str(tmp_path)])
    assert "paper  T (V 2016)" in shown.output
    assert "--scale full: paths, again\n    --set depth=20\n    --set seed=7" in shown.output


def test_the_list_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(app, ["study", "list"])
    assert shown.exit_code == 0
    assert all(f"{name}  " in shown.output for name in PAPERS)
