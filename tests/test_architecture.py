"""The arrow rule: imports follow the flow of the design, never back."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

import pytest

PACKAGE = Path(__file__).parent.parent / "resanalysis"

# One line per room: what it may import from beside itself. It is the flow of docs/how-it-works.md.
GROUND = {"errors", "network", "progress", "ranks", "statistics"}
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "progress": set(),
    "ranks": {"errors"},
    "provenance": set(),
    "network": {"errors"},
    "statistics": {"errors"},
    "models": {"errors", "statistics"},
    "training": GROUND | {"models"},
    "bundled": set(),
    "checkpoint": GROUND | {"models", "datasets"},
    "datasets": GROUND,
    "figures": {"errors", "statistics"},
    "view": GROUND | {"checkpoint"},
    "routes": GROUND | {"view"},
    "path_gradients": GROUND | {"routes"},
    "measures": GROUND | {"view", "routes", "path_gradients", "datasets"},
    "experiments": GROUND
    | {"provenance", "routes", "path_gradients", "measures", "datasets", "figures", "view"},
    "run": GROUND
    | {"checkpoint", "datasets", "models", "training", "figures", "view", "routes", "measures"}
    | {"experiments"},
    "cli": GROUND | {"checkpoint", "routes", "training", "figures", "experiments", "run"},
    "__main__": {"cli"},
    "__init__": {"experiments"},
}
# A measure of one experiment that another is made of.
PAIRS = {
    "experiment": {"per_image"},
    "prune": {"protocol", "prune_measured", "prune_order", "prune_search", "prune_timing", "whole"},
    "prune_joint": {"prune_order"},
    "prune_measured": {"protocol", "prune_order", "prune_replace", "prune_row", "whole"},
    "prune_order": {"whole"},
    "prune_search": {"prune_joint", "prune_order", "prune_spans", "stream", "stream_spans"},
    "prune_spans": {"prune_order"},
    "prune_timing": {"prune_measured", "prune_order"},
    "refinement": {"refinement_exits", "refinement_images"},
    "refinement_depth": {"refinement_exits", "refinement_images"},
    "refinement_exits": {"refinement_images"},
    "refinement_images": {"stream_images"},
    "refinement_page": {
        "refinement",
        "refinement_depth",
        "refinement_exits",
        "refinement_images",
    },
    "scaling_page": {"scaling", "scaling_orders"},
    "lesion": {"lesion_stop", "lesion_table", "lesion_until", "protocol", "whole"},
    "lesion_until": {"lesion_stop", "lesion_table"},
    "lesion_many": {"protocol", "whole"},
    "prune_row": {"protocol", "whole"},
    "rearrange": {"protocol", "rearrange_table", "whole"},
    "rearrange_table": {"lesion_table", "protocol", "whole"},
    "reorder": {"protocol", "whole"},
    "stream": {"stream_images"},
    "work": {"prune_order", "shapley"},
    "stream_page": {"lesion", "stream", "stream_damage", "stream_images", "stream_spans"},
    "stream_spans": {"stream_images"},
}
FORBIDDEN = {
    "figures": ("torch", "resanalysis.experiments", "resanalysis.routes", "resanalysis.network"),
    "statistics": ("torch",),
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
    room = part_of(module)
    wrong: list[str] = []
    for name in imports(source, module):
        to = part_of(name)
        if name.startswith("resanalysis.") and to not in {room, "__init__"} | ROOMS[room]:
            wrong.append(f"{module} imports {name}")
        for forbidden in FORBIDDEN.get(room, ()):
            if name == forbidden or name.startswith(forbidden.rstrip(".") + "."):
                wrong.append(f"{module} imports {name}")
        if to == room == "experiments" and name.count(".") == 2:
            own, other = module.rpartition(".")[2], name.rpartition(".")[2]
            if other not in {"experiment", "work"} | PAIRS.get(own, set()) and other.islower():
                wrong.append(f"{own} is made of {other}")
    return wrong


def files() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    names = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(names)


@pytest.mark.parametrize("path", files(), ids=module_of)
def test_imports_follow_the_flow(path: Path) -> None:
    module = module_of(path)
    assert part_of(module) in ROOMS, f"{module} has no place in the flow: add it to ROOMS"
    assert broken(path.read_text(encoding="utf-8"), module) == []


PACKAGES = sorted(module_of(path.parent) for path in files() if path.name == "__init__.py")


@pytest.mark.parametrize("package", PACKAGES)
def test_no_function_hides_a_module(package: str) -> None:
    """``import resanalysis.view.capture as c`` gives the module, whatever its package imports."""
    there = import_module(package)
    for module in iter_modules(there.__path__):
        assert isinstance(getattr(there, module.name, there), ModuleType), module.name


def test_a_broken_arrow_is_found() -> None:
    module = "resanalysis.network"
    assert broken("from resanalysis.routes.route import Route", module)
    assert broken("def f():\n    import resanalysis.routes.evaluator", module)
    assert broken("from .routes.evaluator import evaluate", module)
    assert broken("import resanalysis.experiments.stream", "resanalysis.experiments.lesion")
    assert broken("import torch.nn", "resanalysis.figures.tables.lesion")
    assert not broken("import torch", module)
    assert not broken("from resanalysis.network import ResidualNetwork", "resanalysis.routes.route")


def test_the_top_level_fits_on_a_page() -> None:
    found = {part_of(module_of(path)) for path in files()}
    rooms = found - {"__init__", "__main__"}
    assert rooms <= set(ROOMS)
    assert len(rooms) <= 18


@pytest.mark.parametrize("path", files(), ids=module_of)
def test_no_module_is_called_utils(path: Path) -> None:
    assert path.stem not in {"utils", "helpers", "common", "base"}
