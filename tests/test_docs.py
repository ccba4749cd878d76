"""Every Python example of the pages in docs/ runs, and every command line they show is one there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from resanalysis.cli import app

DOCS = sorted((Path(__file__).parent.parent / "docs").glob("*.md"))


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.S | re.M)


def command_lines(page: Path) -> list[list[str]]:
    lines = re.findall(r"^    resanalysis (.*)$", page.read_text(encoding="utf-8"), re.M)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in DOCS if blocks(page)], ids=lambda page: page.stem
)
def test_python_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks(page):
        exec(compile(block, page.name, "exec"), {})
        for name in re.findall(r'savefig\("(.*?)"\)', block):
            assert (tmp_path / name).stat().st_size > 1000


def test_command_lines_of_the_paths_page_run(tmp_path: Path) -> None:
    (page,) = (page for page in DOCS if page.stem == "paths")
    words = [line for line in command_lines(page) if "bundled:resnet56-fashion-mnist" not in line]
    assert len(words) >= 4
    for number, line in enumerate(words):
        result = CliRunner().invoke(app, [*line, "--out", str(tmp_path / str(number)), "--quiet"])
        assert result.exit_code == 0, result.output
        assert (tmp_path / str(number) / "paths.csv").is_file()
