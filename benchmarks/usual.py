"""What is measured here as one writes it without this package: hooks, whole passes, one route after another."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

SIZES = (32, 64, 128, 256)
Predictions = NDArray[np.int64]


def zeroed(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
    return torch.zeros_like(output)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


class UsualLoop:
    """A pre-activation network of three stages (``CifarResNet`` of version 2, basic blocks) on some images.

    Its batch size is the fastest of ``SIZES``.
    """

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        if not hasattr(model, "bn") or not isinstance(images, Tensor):
            raise SystemExit(
                "the usual loop is written out for pre-activation networks of three stages"
            )
        # Its parts are found by their names.
        self.model: Any = model
        self.images = images
        stages = (self.model.layer1, self.model.layer2, self.model.layer3)
        self.blocks: list[Any] = [block for stage in stages for block in stage]
        self.batch_size = min(SIZES, key=self._seconds)

    def _seconds(self, size: int) -> float:
        def run() -> None:
            for x in self.images.split(size):
                self.model(x)

        with torch.inference_mode():
            return min(seconds(run) for _ in range(3))

    def deleted(self, gone: Sequence[int]) -> Predictions:
        """A pass with forward hooks that zero what these units add."""
        with ExitStack() as hooks, torch.inference_mode():
            for unit in gone:
                handle = self.blocks[unit].conv2.register_forward_hook(zeroed)
                hooks.callback(handle.remove)
            return self._predicted(self.model)

    def placed(self, order: Sequence[int]) -> Predictions:
        """Block ``order[i]`` runs at position i."""

        def run(x: Tensor) -> Tensor:
            h = self.model.conv1(x)
            for unit in order:
                h = self.blocks[unit](h)
            return self._head(h)

        with torch.inference_mode():
            return self._predicted(run)

    def deviations(self) -> NDArray[np.float64]:
        """Of every 3×3 layer's response, by hooks and one pass: of sums and squares."""
        norms = [self.blocks[0].bn1]
        for block in self.blocks:
            norms += [block.bn2, block.conv2]
        sums = np.zeros((len(norms), 3))

        def kept(layer: int) -> Callable[[nn.Module, object, Tensor], None]:
            def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
                exact = output.double()
                sums[layer] += (exact.numel(), float(exact.sum()), float(exact.square().sum()))

            return hook

        with ExitStack() as hooks, torch.inference_mode():
            for layer, norm in enumerate(norms):
                hooks.callback(norm.register_forward_hook(kept(layer)).remove)
            self._predicted(self.model)
        count, total, squares = sums.T
        return np.sqrt(squares / count - (total / count) ** 2)

    def path_norms(self, labels: Tensor, masks: NDArray[np.bool_]) -> NDArray[np.float64]:
        """As Veit et al. sampled: for each path a pass in which all that is not on the path is detached."""
        return np.stack([self._path_norm(labels, mask) for mask in masks])

    def _path_norm(self, labels: Tensor, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        start = self.images.clone().requires_grad_()
        h = self.model.conv1(start)
        for block, taken in zip(self.blocks, mask, strict=True):
            activated = F.relu(block.bn1(h))
            branch = block.conv2(F.relu(block.bn2(block.conv1(activated))))
            skip = block.shortcut(activated if isinstance(block.shortcut, nn.Conv2d) else h)
            h = branch + skip.detach() if taken else branch.detach() + skip
        # In float32, softmax minus one-hot is noise for images that the network is sure of.
        loss = F.cross_entropy(self._head(h).double(), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, start)
        return gradient.flatten(1).norm(dim=1).double().numpy()

    def _head(self, h: Tensor) -> Tensor:
        return self.model.linear(F.relu(self.model.bn(h)).mean((2, 3)))

    def _predicted(self, run: Callable[[Tensor], Tensor]) -> Predictions:
        parts = [run(x).argmax(1) for x in self.images.split(self.batch_size)]
        return torch.cat(parts).numpy()
