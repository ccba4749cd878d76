"""The site that ``make docs`` builds: strict, a page for each public name, and no other host is asked."""

from __future__ import annotations

import html
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import resanalysis
from tests.conftest import ROOT

pytest.importorskip("mkdocs", reason="the extra docs is not installed")

from docs.site.docstrings import numpy_entries
from docs.site.pages import api_page, place, relinked


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    words = ["build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", *words],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def text_of(page: Path) -> str:
    (article,) = re.findall(r"<article[^>]*>(.*?)</article>", page.read_text("utf-8"), re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", article)).split())


@pytest.mark.slow
@pytest.mark.nightly
def test_every_public_name_has_a_page_with_all_its_parameters(site: Path) -> None:
    for name in set(resanalysis.__all__) - {"figures"}:
        text = text_of(site / api_page(name).replace(".md", ".html"))
        found = getattr(resanalysis, name)
        assert text.startswith(name), name
        words = re.findall(r"\w+", inspect.getdoc(found).partition("\n")[0])  # type: ignore[union-attr]
        assert set(words) <= set(re.findall(r"\w+", text)), name
        if inspect.isfunction(found):
            assert set(inspect.signature(found).parameters) <= set(re.findall(r"\w+", text)), name
    drawn = text_of(site / "api" / "figures.html")
    assert all(f"{name} (" in drawn for name in resanalysis.figures.__all__)


@pytest.mark.slow
@pytest.mark.nightly
def test_a_type_is_said_of_the_parameter_that_has_it(site: Path) -> None:
    """In ``batch_size, device, …`` each has its own: without care, all get that of the first."""
    rows = re.findall(r"<tr.*?</tr>", (site / "api/lesion.html").read_text(), re.S)
    cells = [
        [html.unescape(re.sub(r"<[^>]+>", "", c)).split() for c in r.split("</td>")] for r in rows
    ]
    types = {row[0][0]: "".join(row[1]) for row in cells if len(row) > 2}
    assert types["batch_size"] == "int|None"
    assert types["device"] == "device|str|None"
    assert types["show_progress"] == "bool"


@pytest.mark.slow
@pytest.mark.nightly
def test_no_other_host_is_asked_for_anything(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r'<(?:script|img|iframe)[^>]* src="?(?:https?:)?//', text), page
        assert not re.findall(r'<link[^>]* rel="?stylesheet[^>]* href="?(?:https?:)?//', text), page


@pytest.mark.slow
@pytest.mark.nightly
def test_the_readme_and_the_notebooks_are_in_it(site: Path) -> None:
    assert "Take a trained residual network apart" in text_of(site / "repository" / "index.html")
    notebook = site / "repository" / "examples" / "your_own_resnet.html"
    assert "class Block" in text_of(notebook)


def test_links_are_of_the_site_and_code_is_left_alone() -> None:
    page = "[a](b.md#c) ![d](e.png) [f](https://g.h)\n```sh\n[i](j.md)\n```\n"
    changed = relinked(page, lambda label, target, anchor: f"{label}(X/{target}{anchor})")
    assert changed == ("[a](X/b.md#c) ![d](X/e.png) [f](https://g.h)\n```sh\n[i](j.md)\n```\n")
    assert place(ROOT / "docs" / "lesion.md") == "lesion.md"
    assert place(ROOT / "README.md") == "repository/README.md"
    assert (
        place(ROOT / "examples" / "your_own_resnet.ipynb")
        == "repository/examples/your_own_resnet.md"
    )
    assert place(ROOT / "tests") is None


def test_entries_of_docstrings() -> None:
    given = (
        "Do.\n\nParameters\n----------\na, b : both\n    of them.\nc : one.\n\n"
        "Returns\n-------\ntuple[int, int] : two.\n\nSource: Someone 2016, §4: what.\n"
    )
    assert numpy_entries(given) == (
        "Do.\n\nParameters\n----------\na\n    both\n    of them.\nb\n    both\n    of them.\nc\n    one.\n\n"
        "Returns\n-------\ntuple[int, int]\n    two.\n\nSource\n------\nSomeone 2016, §4: what.\n"
    )
    assert numpy_entries("As it is: a : b") == "As it is: a : b"
