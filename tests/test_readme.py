"""The README is true: its Python runs, its command lines run (on few images), its files exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from resanalysis.cli import app
from tests.conftest import ROOT, cifar

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL = [
    line.removeprefix("resanalysis ")
    for block in re.findall(r"^```sh\n(.*?)^```$", TEXT, re.S | re.M)
    for line in block.splitlines()
    if line.startswith("resanalysis ")
]
WITHOUT_DATA = ("inspect", "paths", "pack")
FEWER = {
    "gradients": ["--limit", "2", "--max-length", "3", "--samples", "2"],
    "lesion": ["--draws", "1"],
    "reorder": ["--draws", "2"],
}


@pytest.mark.slow
def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.S | re.M)
    code = code.replace("resnet56", "resnet20").replace("limit=100", "limit=10")
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "lesion.pdf").stat().st_size > 1000


def packed() -> None:
    """The user's own files under the names the README gives them, and its first command run on them."""
    torch.save(cifar(14).state_dict(), "resnet56.th")
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 16, 16), dtype=np.uint8)
    np.savez("test.npz", images=images, labels=np.arange(20) % 5)
    assert SHELL[0].startswith("pack resnet56.th --data test.npz ")
    result = CliRunner().invoke(app, shlex.split(SHELL[0]))
    assert result.exit_code == 0, result.output
    assert Path("model.pt").is_file()


# A whole report is run in tests/cli, on a network that takes seconds; here it is parsed, in test_docs.
@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in SHELL if not line.startswith("report ")])
def test_the_command_lines_run(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand, but for few images and the smaller of the bundled networks."""
    monkeypatch.chdir(tmp_path)
    line = line.replace(":resnet56-", ":resnet20-").replace("1..20", "1..5")
    words = [*shlex.split(line), "--quiet"]
    if words[0] == "pack" or "model.pt" in words:
        packed()
    if words[0] == "pack":  # which has written its file
        return
    words += ["--out", str(tmp_path)]
    if words[0] not in WITHOUT_DATA:
        words += ["--limit", "10", *FEWER.get(words[0], [])]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert list(tmp_path.glob("*.csv"))
    assert (tmp_path / "manifest.json").is_file()


def test_every_file_it_links_to_exists() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT)
    assert len(links) > 5
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing


def test_every_command_is_listed() -> None:
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}  # type: ignore[union-attr]
    listed = set(re.findall(r"^\| `([a-z]+)` \|", TEXT, re.M))
    assert listed == commands
