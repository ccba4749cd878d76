"""A user's model is run and left as it was: training flags, buffers, cache setting, random numbers."""

from __future__ import annotations

import random
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def evaluation_mode(model: nn.Module) -> Generator[None, None, None]:
    """Eval mode inside; every module's own training flag is put back."""
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, flag in flags:
            module.training = flag


@contextmanager
def undisturbed(model: nn.Module) -> Generator[None, None, None]:
    """Eval mode without caches inside; whatever running the model changed is put back.

    Covers training flags, buffers (counters, running averages), ``config.use_cache`` and the random
    states of Python and torch.
    """
    devices = {tensor.device for tensor in model.parameters() if tensor.is_cuda}
    with ExitStack() as stack:
        stack.enter_context(evaluation_mode(model))
        stack.enter_context(torch.random.fork_rng(list(devices)))
        stack.callback(random.setstate, random.getstate())
        # Eval mode alone is not enough: a forward may count its calls, or draw numbers, whatever its mode.
        stack.callback(_restore_buffers, _buffers(model))
        stack.enter_context(_without_cache(model))
        yield


@contextmanager
def _without_cache(model: nn.Module) -> Generator[None, None, None]:
    """No ``use_cache`` inside.

    A causal language model of Hugging Face returns its keys and values beside the logits, in a class that
    ``torch.export`` does not know. They are of use to generation alone.
    """
    configs: list[Any] = [getattr(module, "config", None) for module in model.modules()]
    cached = [config for config in configs if getattr(config, "use_cache", None) is True]
    for config in cached:
        config.use_cache = False
    try:
        yield
    finally:
        for config in cached:
            config.use_cache = True


_Kept = list[tuple[nn.Module, str, torch.Tensor, torch.Tensor]]


def _buffers(model: nn.Module) -> _Kept:
    """Every buffer with a copy of its values."""
    return [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]


def _restore_buffers(kept: _Kept) -> None:
    for module, name, buffer, values in kept:
        own: dict[str, Any] = module._buffers
        own[name] = buffer  # ``self.count = self.count + 1`` puts another tensor there
        if not buffer.is_meta and not torch.equal(buffer, values):
            with torch.no_grad():
                buffer.copy_(values)
