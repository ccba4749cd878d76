"""What users hold around a model: parallel copies, compiled models, adapters; and the model inside."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from resanalysis.view.errors import UnravelError


def unwrapped(model: Any) -> nn.Module:
    """The model that runs when ``model`` is called.

    ``DataParallel``, ``DistributedDataParallel`` and ``torch.compile`` run the module they hold, and PEFT
    the base model, into whose layers it has put its adapters.

    Raises
    ------
    UnravelError : if ``model`` is no module, or runs more than a module inside it (prompt tuning).
    """
    if not isinstance(model, nn.Module):
        name = getattr(model, "__name__", None) or type(model).__name__
        raise UnravelError(
            f"unravel takes a torch.nn.Module, got {name}: put what it computes in the forward of a module"
        )
    inner = _held(model)
    # They nest: a compiled model in `DataParallel`, adapters in both.
    if inner is not None:
        return unwrapped(inner)
    _require_graph(model)
    return model


def _require_graph(model: nn.Module) -> None:
    """Refuse models whose parts are no tensor operations that ``torch.export`` could follow."""
    name = type(model).__name__
    if isinstance(model, torch.jit.ScriptModule):
        raise UnravelError(
            f"{name} is a TorchScript program, which cannot be captured: give the module that it was made of"
        )
    for path, part in model.named_modules():
        if ".ao.nn.quantized" in type(part).__module__:
            raise UnravelError(
                f"{name} is quantised ({path} is a quantised {type(part).__name__}), and packed weights cannot "
                "be captured: analyse the model as it was before"
            )


def _held(model: nn.Module) -> Any:
    """The module one wrapper further inside, ``None`` where there is no wrapper."""
    if isinstance(model, DataParallel | DistributedDataParallel):
        return model.module
    compiled = getattr(model, "_orig_mod", None)
    if compiled is not None:
        return compiled
    adapted = getattr(model, "get_base_model", None)
    if not callable(adapted):
        return None
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        raise UnravelError(
            f"{type(model).__name__} puts learned tokens before its input, which its base model does not "
            "know of: analyse the base model, or an adapter that changes layers (LoRA)"
        )
    return adapted()


@contextmanager
def parts_not_compiled(model: nn.Module) -> Generator[None, None, None]:
    """The parts that were compiled one by one run as they are inside, under their own paths."""
    compiled = [
        (parent, name, part)
        for parent in model.modules()
        for name, part in parent.named_children()
        if isinstance(getattr(part, "_orig_mod", None), nn.Module)
    ]
    for parent, name, part in compiled:
        parent._modules[name] = part._orig_mod  # pyright: ignore
    try:
        yield
    finally:
        for parent, name, part in compiled:
            parent._modules[name] = part
