"""One thread (two make tiny models ten times slower) and tiny models whose structure is known."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import matplotlib as mpl
import pytest
import torch
from torch import Tensor, nn

from resanalysis.models.cifar_resnet import CifarResNet

mpl.use("Agg")
torch.set_num_threads(1)

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"

# Older ones have no reader for it, and the command says so (docs/models.md).
reads_archives = pytest.mark.skipif(
    find_spec("torch.export.pt2_archive") is None,
    reason="archives are read with torch 2.9 or later",
)


def pytest_collection_finish() -> None:
    spare_the_collector()


@pytest.fixture(scope="module", autouse=True)
def _spared() -> Iterator[None]:
    yield
    spare_the_collector()


def spare_the_collector() -> None:
    """What is imported by now stays: every collection, and statsmodels asks for many, would go over it."""
    gc.collect()
    gc.freeze()


def settle(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights and batch-norm statistics that are not the trivial ones, in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            width = module.num_features
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.copy_(0.3 * torch.randn(width, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(width, generator=generator))
            with torch.no_grad():
                module.weight.copy_(0.5 + torch.rand(width, generator=generator))
                module.bias.copy_(0.3 * torch.randn(width, generator=generator))
    return model.eval()


def cifar(depth: int = 14, **options: object) -> CifarResNet:
    """A narrow CIFAR ResNet with random weights."""
    torch.manual_seed(0)
    model = CifarResNet(depth, width=4, classes=5, **options)  # type: ignore[arg-type]
    settle(model)
    return model


class Batches:
    """A data set in memory, as the evaluator needs it."""

    def __init__(self, inputs: Tensor, labels: Tensor | None) -> None:
        self.inputs, self.labels = inputs, labels

    def __len__(self) -> int:
        return len(self.inputs)

    def batch(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        labels = None if self.labels is None else self.labels[start:stop]
        return self.inputs[start:stop], labels


@pytest.fixture
def images() -> Tensor:
    return torch.randn(11, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def batches(images: Tensor) -> Batches:
    return Batches(images, torch.randint(5, (11,), generator=torch.Generator().manual_seed(2)))


@pytest.fixture
def shared() -> Path:
    """Files that are not part of the project: real trained networks and CIFAR-10 images."""
    if not (SHARED / "models").is_dir():
        pytest.skip("needs the trained CIFAR-10 networks, which the project does not ship")
    return SHARED
