"""The notebooks in examples/ run from top to bottom, and hold no output."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.pylabtools import select_figure_formats
from nbclient import NotebookClient
from traitlets.config import Config

from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def opened(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def test_there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "gradients_by_path_length",
        "transformer_layers",
        "your_own_resnet",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_kept_without_what_it_printed(path: Path) -> None:
    assert path.stat().st_size < 20_000
    cells = [cell for cell in opened(path).cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


def smaller(source: str) -> str:
    """For few images and the smaller of the networks that ship."""
    source = source.replace(":resnet56-", ":resnet20-").replace("2**27", "2**9")
    return re.sub(r"\bimages=\d+", "images=2", source)


def in_this_process(path: Path) -> list[dict[str, Any]]:
    """What the cells show, without a kernel that imports everything again."""
    shell: Any = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    select_figure_formats(shell, {"png"})
    shown = []
    for cell in opened(path).cells:
        if cell.cell_type == "code":
            ran = shell.run_cell(smaller(cell.source))
            ran.raise_error()
            shown.append(shell.display_formatter.format(ran.result)[0])
    return shown


def in_a_kernel(path: Path) -> list[dict[str, Any]]:
    notebook = opened(path)
    resources = {"metadata": {"path": str(Path.cwd())}}
    NotebookClient(notebook, timeout=300, startup_timeout=300, resources=resources).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.data for output in shown if "data" in output]


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        # What the others call, docs/ calls too, and those examples run every time.
        pytest.param(path, marks=[] if path.stem == "your_own_resnet" else pytest.mark.nightly)
        for path in NOTEBOOKS
    ],
    ids=lambda path: path.stem,
)
@pytest.mark.parametrize(
    "run", [in_this_process, pytest.param(in_a_kernel, marks=pytest.mark.nightly)]
)
def test_it_runs(
    run: Callable[[Path], list[dict[str, Any]]],
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where no file of the project is beside it; with this checkout's package and one thread."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(
        sys.modules, "__main__", sys.modules["__main__"]
    )  # a shell puts its own there
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), before])))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    shown = run(path)
    assert any("units in" in data["text/html"] for data in shown if "text/html" in data)
    figures = sum("ra.figures." in cell.source for cell in opened(path).cells)
    assert sum("image/png" in data for data in shown) == figures >= 1
