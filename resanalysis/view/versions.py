"""What differs between the versions of torch that are supported (2.6 on), in one place."""

from __future__ import annotations

import inspect
from keyword import iskeyword
from typing import Any

from torch import fx
from torch.export import ExportedProgram

from resanalysis.errors import shown
from resanalysis.view.errors import UnravelError


def graph_of(program: ExportedProgram) -> fx.GraphModule:
    """The exported program as a module, without checks of its inputs.

    From torch 2.9 on they would be checked against the example, and ``check_guards`` turns that off; from
    2.6 to 2.8 there is nothing to turn off.
    """
    checked = "check_guards" in inspect.signature(program.module).parameters
    try:
        module = program.module(check_guards=False) if checked else program.module()
    except SyntaxError as error:  # torch writes the names into a function's source
        names = [name for name in program.state_dict if not _written(name)]
        found = shown(names[0] if names else "?")
        raise UnravelError(
            f"torch cannot write the name {found} as Python: no part of a model may be called by a word of "
            "Python's own, such as in, or hold quotes, backslashes or line ends; rename it"
        ) from error
    if not isinstance(module, fx.GraphModule):
        raise UnravelError("torch.export gave no graph for this model")
    return module


def _written(name: str) -> bool:
    """Whether every part of a dotted name can stand after ``self.``, or in quotes."""
    return not any(
        iskeyword(part) or not part.isprintable() or not {'"', "\\"}.isdisjoint(part)
        for part in name.split(".")
    )


def keyword_names(in_spec: Any) -> list[str]:
    """The keyword arguments of a call, in the order in which it was captured.

    ``TreeSpec.child`` came after 2.9; ``children_specs``, which it replaces, is on its way out.
    """
    child = getattr(in_spec, "child", None)
    keywords = in_spec.children_specs[1] if child is None else child(1)
    return list(keywords.context or [])
