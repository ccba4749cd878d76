"""Tests take the same tiny models apart again and again, and a third of their time would be the capture."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

import resanalysis.view.capture as capture

_programs: dict[bytes, ExportedProgram] = {}


class _Content(pickle.Pickler):
    """Tensors by what they hold: torch writes down where in the memory they lie."""

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, Tensor):
            return None
        held = obj.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        return (type(obj).__name__, str(obj.dtype), tuple(obj.shape), held.tobytes())


@pytest.fixture(scope="module", autouse=True)
def captured_once() -> Iterator[None]:
    """Equal models, byte for byte, called with equal examples are captured once in a session.

    Only for tests of what is done with a network. Everything after the capture is done anew, on the weights of
    the model that was given; what a capture is and leaves behind is for tests/view, which do not use this.
    """
    export = capture._export

    def program_of(model: nn.Module, example: Any, sizes: Any) -> ExportedProgram:
        key = io.BytesIO()
        try:
            _Content(key).dump((model, example, sizes))
        except Exception:  # a class of a test's own, or what holds a function
            return export(model, example, sizes)
        known = key.getvalue()
        if known not in _programs:
            _programs[known] = export(model, example, sizes)
        program = copy.copy(_programs[known])
        program._state_dict = dict(model.state_dict(keep_vars=True))
        return program

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capture, "_export", program_of)
        yield
