"""The arrow rule: imports follow the flow of the design, never back."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "resanalysis"

# A module may import from its own step and from earlier ones.
STEPS = (
    (
        "progress",
        "precision",
        "user_function",
        "results",
        "statistics",
        "models",
        "training",
        "bundled",
    ),
    ("network",),
    ("route", "rearrangement", "path", "path_length", "fast", "scores", "stream_measures"),
    ("checkpoint", "datasets"),
    ("unravel",),
    ("evaluate", "shortened", "shortened_files"),
    ("experiments",),
    ("figures",),
    ("headlines", "pipeline", "train"),
    ("report", "several", "study"),
    ("cli", "__main__", "__init__"),
)
STEP = {name: number for number, names in enumerate(STEPS) for name in names}
# Typed by these and nothing more: the evaluator takes data sets, training needs no view.
FORBIDDEN = {
    "figures": ("torch", "resanalysis.experiments", "resanalysis.evaluate", "resanalysis.network"),
    "headlines": ("torch", "matplotlib"),
    "results": ("torch", "resanalysis."),
    "statistics": ("torch", "resanalysis."),
}


def imports(source: str, module: str) -> set[str]:
    """Every module a source file imports, also inside functions and for types."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*module.split(".")[: -node.level], *filter(None, [node.module])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def part_of(module: str) -> str:
    """``experiments`` for ``resanalysis.experiments.lesion``, ``__init__`` for the package."""
    names = module.split(".")
    return names[1] if len(names) > 1 else "__init__"


def broken(source: str, module: str) -> list[str]:
    """The imports of a file that go against the flow."""
    part = part_of(module)
    wrong: list[str] = []
    for name in imports(source, module):
        if name.startswith("resanalysis.") and STEP.get(part_of(name), -1) > STEP[part]:
            wrong.append(f"{module} imports {name}")
        for forbidden in FORBIDDEN.get(part, ()):
            if name == forbidden or name.startswith(forbidden.rstrip(".") + "."):
                wrong.append(f"{module} imports {name}")
    return wrong


def files() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    names = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(names)


@pytest.mark.parametrize("path", files(), ids=module_of)
def test_imports_follow_the_flow(path: Path) -> None:
    module = module_of(path)
    assert part_of(module) in STEP, f"{module} has no place in the flow: add it to STEPS"
    assert broken(path.read_text(encoding="utf-8"), module) == []


def test_a_broken_arrow_is_found() -> None:
    module = "resanalysis.network"
    assert broken("from resanalysis.route import Route", module)
    assert broken("def f():\n    import resanalysis.evaluate", module)
    assert broken("from .evaluate import evaluate", module)
    assert broken("import torch.nn", "resanalysis.figures.lesion")
    assert not broken("import torch", module)
    assert not broken("from resanalysis.network import ResidualNetwork", "resanalysis.route")


@pytest.mark.parametrize("path", files(), ids=module_of)
def test_no_module_is_called_utils(path: Path) -> None:
    assert path.stem not in {"utils", "helpers", "common", "base"}
