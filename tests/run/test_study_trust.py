"""A study is a file of a stranger: no path out of its folder, no code, no memory on a claim."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from resanalysis.cli import app
from resanalysis.errors import ResanalysisError
from resanalysis.run.study import read_study
from resanalysis.run.study_trust import code_in, require_trust
from tests.run.test_study import TEXT, written


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "paths"', 'name = "../../outside"', "step ../../outside needs a name of letters"),
        ('name = "paths"', 'name = "/abs"', "step /abs needs a name of letters, digits, _ and -"),
        ('name = "paths"', 'name = ""', "needs a name of letters"),
        ('name = "paths"', 'name = "a\\u001b[2J"', r"step a\\x1b\[2J needs a name"),
        ("{depth}", "{depth:>3000000000}", r"writes \{depth\} with more than a name"),
        ("{depth}", "{depth!r}", r"writes \{depth\} with more than a name"),
        ("{depth}", "{depth.__class__}", r"writes \{depth.__class__\} with more than a name"),
        ("{depth}", "{depth", "has braces that are no {placeholder}: expected '}'"),
        ("paths --depth", "study run paper --set depth=", "runs a study: a study's steps are other"),
        ("[expected.small.paths]\nunits = 9", "", "expected is to be a table"),
        ("[expected.small.paths]\nunits = 9", "[expected]\nsmall = 5", "expected.small is to"),
        ('[needs]\ndepth = "20"\nseed = { full = "7" }', "", "needs is to be a table"),
    ],
)  # fmt: skip
def test_what_no_study_needs_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = TEXT.replace(old, new)
    if "is to be a table" in message and not new:
        text = f"{message.split()[0]} = 5\n{text}"
    with pytest.raises(ResanalysisError, match=message) as caught:
        read_study(written(tmp_path, text))
    assert str(caught.value).isprintable()
    assert not (tmp_path.parent / "outside").exists()


def test_steps_are_tables(tmp_path: Path) -> None:
    text = TEXT.partition("[[run]]")[0] + '[run]\nname = "paths"\n'
    with pytest.raises(ResanalysisError, match=r"its steps are to be \[\[run\]\] tables, found"):
        read_study(written(tmp_path, text))


def test_two_steps_of_one_name_would_write_to_one_folder(tmp_path: Path) -> None:
    step = '[[run]]\nname = "paths"\ncommand = "resanalysis paths --depth {depth}"\n'
    with pytest.raises(ResanalysisError, match="step paths has the name of a step before it"):
        read_study(written(tmp_path, TEXT.replace("[expected", f"{step}[expected")))


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["lesion", "python:m:f"], "python:"),
        (["lesion", "vgg=python:m:f", "a.pt"], "python:"),
        (["lesion", "a.pt", "--metric", "m:f"], "--metric"),
        (["lesion", "a.pt", "--metric=m:f"], "--metric"),
        (["inspect", "a.pt", "--trust-pickle"], "--trust-pickle"),
        (["lesion", "a.pt", "--data", "text:python:x.txt", "--out", "metric"], None),
    ],
)
def test_what_runs_code_needs_the_users_word(words: list[str], code: str | None) -> None:
    assert code_in(words) == code
    require_trust({"s": words}, trusted=True)
    if code is not None:
        with pytest.raises(ResanalysisError, match=rf"step s runs code of others \({code}\): read"):
            require_trust({"s": words}, trusted=False)


def test_a_study_runs_code_only_where_the_user_agrees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "strange.py").write_text(
        "from pathlib import Path\n\nPath('ran').touch()\n\ndef make():\n    return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    command = "resanalysis inspect {model} --input-shape 3,8,8"
    text = TEXT.replace('depth = "20"', 'model = "python:strange:make"').replace(
        "resanalysis paths --depth {depth}", command
    )
    line = ["study", "run", str(written(tmp_path, text)), "--out", str(tmp_path / "out")]
    refused = CliRunner().invoke(app, line)
    assert refused.exit_code == 1
    assert "add --trust-study" in refused.output
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out").exists()
    asked: list[Any] = []

    def ends_badly(step: Any, _: Any) -> tuple[int, str]:
        asked.append(step)
        return 1, ""

    with monkeypatch.context() as patch:
        patch.setattr("resanalysis.run.study_steps._run", ends_badly)
        CliRunner().invoke(app, [*line, "--set", "model=absent.pt"])  # the user's own word, no code
    assert len(asked) == 1
    assert not (tmp_path / "ran").exists()
    CliRunner().invoke(app, [*line, "--trust-study"])
    assert (tmp_path / "ran").exists()
