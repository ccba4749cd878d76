"""The versions of torch that are supported differ in a few names; both are tried on what the newest has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resanalysis import UnravelError
from resanalysis.view.versions import graph_of, keyword_names


class Older:
    """An exported program whose ``module`` takes no ``check_guards``, as before torch 2.9."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def module(self) -> Any:
        return self._module


def test_a_program_of_either_kind_gives_its_graph() -> None:
    program = torch.export.export(nn.Linear(2, 2), (torch.zeros(3, 2),))
    module = graph_of(program)
    assert torch.equal(module(torch.zeros(3, 2)), program.module()(torch.zeros(3, 2)))
    assert graph_of(Older(module)) is module  # type: ignore[arg-type]
    with pytest.raises(UnravelError, match="gave no graph"):
        graph_of(Older(nn.Identity()))  # type: ignore[arg-type]


def test_keyword_names_of_either_kind() -> None:
    class Two(nn.Module):
        def forward(self, *, b: Tensor, a: Tensor) -> Tensor:
            return a - b

    pair = {"b": torch.zeros(3), "a": torch.zeros(3)}
    spec = torch.export.export(Two(), (), pair).call_spec.in_spec
    assert keyword_names(spec) == ["b", "a"]
    older = SimpleNamespace(
        children_specs=[SimpleNamespace(context=None), SimpleNamespace(context=["b", "a"])]
    )
    assert keyword_names(older) == ["b", "a"]
    without = SimpleNamespace(child=lambda _: SimpleNamespace(context=None))
    assert keyword_names(without) == []
