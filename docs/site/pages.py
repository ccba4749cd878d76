"""The pages of the site that are no files of docs/: one per public name, and the files that pages link to.

Files outside of docs/ (the README, studies, notebooks) come into the site under ``repository/``, where they
stand to each other as they do in the repository. Links are rewritten, so that one text works in both.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import resanalysis

ROOT = Path(__file__).parent.parent.parent
OUTSIDE = "repository/"
_FENCED = re.compile(r"(^```.*?^```$)", re.S | re.M)
_LINK = re.compile(r"(\[[^\]]*\])\(([^)\s:#]+)(#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The navigation is that of docs/index.md: its paragraphs are groups, its links the pages."""
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    groups = re.findall(r"^\*\*(.+?)\*\*: (.*?)(?=\n\n|\Z)", index, re.S | re.M)
    pages = [
        {title: [place(ROOT / "docs" / path) for path in re.findall(r"\]\((.*?)\)", links)]}
        for title, links in groups
    ]
    names = [{name: api_page(name)} for name in resanalysis.__all__]
    config.nav = ["index.md", *pages, {"API": ["api/index.md", *names]}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is made here, and what is linked to, from there on too."""
    made = {"api/index.md": api_index()} | {api_page(n): api_text(n) for n in resanalysis.__all__}
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    waiting = [
        ROOT / "docs" / file.src_uri
        for file in files.documentation_pages()
        if file.src_uri not in made
    ]
    seen = set(waiting)
    while waiting:
        for target in sorted(set(linked(waiting.pop())) - seen):
            seen.add(target)
            files.append(outside(target, config))
            waiting += [target] if target.suffix in (".md", ".ipynb") else []
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Links as they are in the site."""
    here = page.file.src_uri
    if here.startswith("api/"):
        return markdown
    source = ROOT / (here.removeprefix(OUTSIDE) if here.startswith(OUTSIDE) else f"docs/{here}")

    def link(label: str, target: str, anchor: str) -> str:
        found = place(source.parent / target)
        if found is None:
            return label[1:-1]
        return f"{label}({posixpath.relpath(found, posixpath.dirname(here) or '.')}{anchor})"

    return relinked(markdown, link)


def relinked(markdown: str, link: Callable[[str, str, str], str]) -> str:
    """Markdown with its links to files replaced, those in code left alone."""
    parts = _FENCED.split(markdown)
    parts[::2] = [_LINK.sub(lambda m: link(m[1], m[2], m[3] or ""), part) for part in parts[::2]]
    return "".join(parts)


def linked(page: Path) -> list[Path]:
    """Files outside of docs/ that a page links to."""
    found: list[Path] = []

    def link(label: str, target: str, anchor: str) -> str:
        path = file_of(page.parent / target)
        if path is not None and ROOT / "docs" not in path.parents:
            found.append(path)
        return label

    relinked(page.read_text(encoding="utf-8"), link)
    return found


def file_of(path: Path) -> Path | None:
    """The file that a link means: of a folder its README, and none if it has none."""
    path = path.resolve()
    if path.is_dir():
        path /= "README.md"
        return path if path.is_file() else None
    return path


def place(path: Path) -> str | None:
    """Where a file of the repository is in the site."""
    found = file_of(path)
    if found is None:
        return None
    name = found.relative_to(ROOT).as_posix()
    if name.startswith("docs/"):
        return name.removeprefix("docs/")
    return OUTSIDE + name.removesuffix(".ipynb") + (".md" if name.endswith(".ipynb") else "")


def outside(path: Path, config: MkDocsConfig) -> File:
    """A file of the repository as one of the site; a notebook as a page."""
    name = place(path)
    assert name is not None
    if path.suffix == ".ipynb":
        return File.generated(config, name, content=notebook(path))
    return File.generated(config, name, abs_src_path=str(path))


def notebook(path: Path) -> str:
    """The cells of a notebook as Markdown."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells]
    fenced = (f"```python\n{text}\n```" for text in texts)
    pairs = zip(cells, texts, fenced, strict=True)
    return "\n\n".join(
        text if cell["cell_type"] == "markdown" else code for cell, text, code in pairs
    )


def api_page(name: str) -> str:
    """``dataset`` and ``Dataset`` are one file where case does not count."""
    return f"api/{name}.md" if name.islower() else f"api/{name}-class.md"


def api_text(name: str) -> str:
    """The page of a public name: what its docstring says."""
    if name != "figures":
        home = import_module(resanalysis._HOME[name]).__name__
        return f"::: {home}.{name}\n"
    drawn = [getattr(resanalysis.figures, figure) for figure in resanalysis.figures.__all__]
    blocks = [
        f"::: {draw.__module__}.{draw.__name__}\n    options:\n      heading_level: 2"
        for draw in drawn
    ]
    return "# figures\n\n" + "\n\n".join([str(resanalysis.figures.__doc__), *blocks])


def api_index() -> str:
    """All public names, each with the first line of its docstring."""
    rows = [
        f"| [`{name}`]({api_page(name).removeprefix('api/')}) | {_first_line(name)} |"
        for name in resanalysis.__all__
    ]
    return "\n".join(
        [
            "# API",
            "",
            "`import resanalysis as ra`, then `ra.NAME`:",
            "",
            "| | |",
            "|---|---|",
            *rows,
        ]
    )


def _first_line(name: str) -> str:
    text = str(getattr(resanalysis, name).__doc__).strip()
    return text.partition("\n")[0].replace("|", "\\|").replace("``", "`")
