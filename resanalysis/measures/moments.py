"""What each layer of a running model responds with, reduced to three numbers an image inside a hook."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from resanalysis.network import Inputs
from resanalysis.view.calling import as_arguments
from resanalysis.view.undisturbed import evaluation_mode

# Values of a response that are held in double precision at a time.
_AT_ONCE = 2**22


@dataclass
class Moments:
    """The response of one layer to a batch.

    Attributes
    ----------
    n, mean, m2 : (N,) float64 by image: how many values, their mean, the sum of squared deviations from it.
    shape : of one call's response, without the images.
    batch_norm : whether they were taken after a batch norm.
    calls : how often the layer ran; its calls are pooled.
    per_image : false if the response has no axis over images (a position table).
    """

    n: Tensor
    mean: Tensor
    m2: Tensor
    shape: tuple[int, ...]
    batch_norm: bool = False
    calls: int = 1
    per_image: bool = True

    def merged(self, other: Moments) -> Moments:
        """Both sets of values as one, by the pairwise update of Chan, Golub and LeVeque 1983."""
        n = self.n + other.n
        delta = other.mean - self.mean
        return Moments(
            n=n,
            mean=self.mean + delta * other.n / n,
            m2=self.m2 + other.m2 + delta**2 * self.n * other.n / n,
            shape=self.shape,
            batch_norm=self.batch_norm and other.batch_norm,
            calls=self.calls + other.calls,
            per_image=self.per_image and other.per_image,
        )


def layer_kind(module: nn.Module) -> str | None:
    """``3x3`` for a convolution with that kernel (also a grouped one), ``linear``, or ``None``."""
    if isinstance(module, _ConvNd):
        kernel = "x".join(str(size) for size in module.kernel_size)
        return f"{kernel} transposed" if isinstance(module, _ConvTransposeNd) else kernel
    return "linear" if isinstance(module, nn.Linear) else None


def layer_moments(
    model: nn.Module, layers: Mapping[str, nn.Module], inputs: Inputs, images: int
) -> dict[str, Moments]:
    """Run the model once in eval mode and reduce the response of some of its layers.

    The response is taken after the batch norm that reads the layer's output, if one does, otherwise
    after the layer. Hooks, training flags, gradient mode and random state are as before afterwards, also if
    the model raises.

    Parameters
    ----------
    layers : by name; layers that do not run are missing from the result.
    inputs : a batch of ``images`` examples.

    Returns
    -------
    dict : by name, in the order in which the layers first ran.
    """
    listener = _Listener(images)
    handles: list[Any] = []
    args, kwargs = as_arguments(inputs)
    devices = sorted({p.device for p in model.parameters() if p.device.type == "cuda"}, key=str)
    try:
        for name, module in layers.items():
            handles.append(module.register_forward_hook(listener.of_layer(name)))
        for module in model.modules():
            if _is_batch_norm(module):
                handles.append(module.register_forward_pre_hook(listener.of_batch_norm))
        # inference mode would not count the versions that tell an overwritten tensor
        with evaluation_mode(model), torch.no_grad(), torch.random.fork_rng(devices):
            model(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return listener.found()


def _is_batch_norm(module: nn.Module) -> bool:
    """Also frozen ones and those with a built-in activation, which share no class."""
    return all(hasattr(module, name) for name in ("running_mean", "running_var", "weight", "bias"))


def _batch_normed(module: Any, x: Tensor) -> Tensor:
    """The normalisation alone: some modules add an activation to it."""
    untracked = module.running_mean is None
    eps = getattr(module, "eps", 1e-5)
    mean, var, weight, bias = module.running_mean, module.running_var, module.weight, module.bias
    return F.batch_norm(x, mean, var, weight, bias, training=untracked, momentum=0.0, eps=eps)


class _Listener:
    """Collects the calls of layers during one pass; keeps no activation alive."""

    def __init__(self, images: int) -> None:
        self.images = images
        self.calls: dict[str, list[Moments]] = {}
        self.pending: dict[int, tuple[weakref.ref[Tensor], int, str, int]] = {}

    def of_layer(self, name: str) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                calls = self.calls.setdefault(name, [])
                calls.append(_moments(output, self.images))
                # Not the tensor itself: all activations of the pass would stay in memory. Until a batch norm
                # reads it, the moments of the raw output stand.
                entry = (weakref.ref(output), output._version, name, len(calls) - 1)
                self.pending[id(output)] = entry

        return hook

    def of_batch_norm(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if not args or id(args[0]) not in self.pending:
            return
        reference, version, name, call = self.pending[id(args[0])]
        # Another object may have the address of one that is gone, and ``relu_`` keeps the object.
        if reference() is args[0] and args[0]._version == version:
            del self.pending[id(args[0])]
            normed = _moments(_batch_normed(module, args[0]), self.images)
            normed.batch_norm = True
            self.calls[name][call] = normed

    def found(self) -> dict[str, Moments]:
        merged: dict[str, Moments] = {}
        for name, (first, *others) in self.calls.items():
            for other in others:
                first = first.merged(other)
            merged[name] = first
        return merged


def _moments(output: Tensor, images: int) -> Moments:
    """Two passes over each image's values in double precision."""
    shape = tuple(output.shape[1:])
    if output.ndim < 2 or output.shape[0] % images:
        nothing = torch.full((images,), torch.nan, dtype=torch.float64)
        return Moments(nothing, nothing, nothing, shape, per_image=False)
    values = output.detach().reshape(images, -1)  # windows of an image lie one after the other
    if values.device.type == "mps":  # it has no double precision
        values = values.cpu()
    # About the mean, and not Σ x² − n x̄²: of a large mean with a small spread that leaves rounding alone.
    rows: list[tuple[Tensor, Tensor]] = []
    for some in values.split(max(1, _AT_ONCE // values.shape[1])):
        some = some.double()
        mean = some.mean(1)
        rows.append((mean, some.sub_(mean[:, None]).square_().sum(1)))
    mean, m2 = (torch.cat(column).cpu() for column in zip(*rows, strict=True))
    return Moments(torch.full_like(mean, values.shape[1]), mean, m2, shape)
