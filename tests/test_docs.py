"""Every Python example of the pages in docs/ runs, and every command line they show is one there is."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from typer.main import get_command
from typer.testing import CliRunner

import resanalysis as ra
from resanalysis.cli import app

README = Path(__file__).parent.parent / "README.md"
DOCS = sorted((Path(__file__).parent.parent / "docs").glob("*.md"))
# A network of 27 units and 50 images teach a reader more, and a test no more than 9 units and 6 images.
SMALLER = {"resnet56": "resnet20", "sizes=[4, 13]": "sizes=[4, 7]", "[18]": "[6]"}
SMALL_COUNT = {"limit": "limit=6", "images": "images=2"}


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.S | re.M)


def made_small(block: str) -> str:
    for said, small in SMALLER.items():
        block = block.replace(said, small)
    return re.sub(r"\b(limit|images)=\d+", lambda count: SMALL_COUNT[count[1]], block)


def command_lines(page: Path) -> list[list[str]]:
    lines = re.findall(r"^    resanalysis (.*)$", page.read_text(encoding="utf-8"), re.M)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.fixture(scope="module")
def _made_once() -> Iterator[None]:
    """Nearly every page loads and unravels the same network, and leaves it as it was."""
    load, unravel, views = ra.load, ra.unravel, {}

    def viewed(model: nn.Module, example: Any, **options: Any) -> Any:
        if options:
            return unravel(model, example, **options)
        if model not in views:
            views[model] = unravel(model, example)
        return views[model]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ra, "load", cache(load))
        patch.setattr(ra, "unravel", viewed)
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("_made_once")
@pytest.mark.parametrize(
    "page", [page for page in DOCS if blocks(page)], ids=lambda page: page.stem
)
def test_python_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand, but for the number of images and the bundled network, which is a smaller one."""
    monkeypatch.chdir(tmp_path)
    for block in blocks(page):
        exec(compile(made_small(block), page.name, "exec"), {})
        for name in re.findall(r'savefig\("(.*?)"\)', block):
            assert (tmp_path / name).stat().st_size > 1000


@pytest.mark.parametrize(
    "page",
    [page for page in [*DOCS, README] if command_lines(page)],
    ids=lambda page: page.stem,
)
def test_command_lines_are_ones_there_are(page: Path) -> None:
    """Parsed as they would be run: a command, option or value that is none ends in a usage error."""
    group: Any = get_command(app)
    for words in command_lines(page):
        command, rest = group.commands[words[0]], words[1:]
        if hasattr(command, "commands"):
            command, rest = command.commands[rest[0]], rest[1:]
        command.make_context(command.name, rest)


def test_a_wrong_command_line_is_found() -> None:
    group: Any = get_command(app)
    with pytest.raises(Exception, match="No such option: --nothing"):
        group.commands["lesion"].make_context("lesion", ["m.pt", "--nothing"])


def test_command_lines_of_the_paths_page_run(tmp_path: Path) -> None:
    (page,) = (page for page in DOCS if page.stem == "paths")
    words = [line for line in command_lines(page) if "bundled:resnet56-fashion-mnist" not in line]
    assert len(words) >= 4
    for number, line in enumerate(words):
        result = CliRunner().invoke(app, [*line, "--out", str(tmp_path / str(number)), "--quiet"])
        assert result.exit_code == 0, result.output
        assert (tmp_path / str(number) / "paths.csv").is_file()


def test_launchers_of_the_page_on_several_machines_are_ones_there_are() -> None:
    """Each line's options are torchrun's, and what it starts is a command of ours; the scripts are sound."""
    yaml = pytest.importorskip("yaml")
    from torch.distributed.run import get_args_parser

    (page,) = (page for page in DOCS if page.stem == "several-machines")
    text = page.read_text(encoding="utf-8")
    (script,) = re.findall(r"^```bash\n(.*?)^```$", text, re.S | re.M)
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    (job,) = re.findall(r"^```yaml\n(.*?)^```$", text, re.S | re.M)
    container = yaml.safe_load(job)["spec"]["template"]["spec"]["containers"][0]
    lines = [container["command"]]
    for line in re.findall(r"torchrun .*", text.replace("\\\n", " ")):
        lines += [shlex.split(line.partition(" && ")[0])] if " -m resanalysis" in line else []
    assert len(lines) == 4
    group: Any = get_command(app)
    for line in lines:
        launched = get_args_parser().parse_args(line[1:])
        assert (launched.module, launched.training_script) == (True, "resanalysis")
        name, *words = launched.training_script_args
        group.commands[name].make_context(name, words)
