"""What differs between the versions of torch that are supported (2.6 on), in one place."""

from __future__ import annotations

import inspect
from typing import Any

from torch import fx
from torch.export import ExportedProgram

from resanalysis.view.errors import UnravelError


def graph_of(program: ExportedProgram) -> fx.GraphModule:
    """The exported program as a module, without checks of its inputs.

    From torch 2.9 on they would be checked against the example, and ``check_guards`` turns that off; from
    2.6 to 2.8 there is nothing to turn off.
    """
    checked = "check_guards" in inspect.signature(program.module).parameters
    module = program.module(check_guards=False) if checked else program.module()
    if not isinstance(module, fx.GraphModule):
        raise UnravelError("torch.export gave no graph for this model")
    return module


def keyword_names(in_spec: Any) -> list[str]:
    """The keyword arguments of a call, in the order in which it was captured.

    ``TreeSpec.child`` came after 2.9; ``children_specs``, which it replaces, is on its way out.
    """
    child = getattr(in_spec, "child", None)
    keywords = in_spec.children_specs[1] if child is None else child(1)
    return list(keywords.context or [])
