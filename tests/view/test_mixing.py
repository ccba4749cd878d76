"""Models whose output for one example depends on the others in its batch are refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from resanalysis import UnravelError, unravel
from resanalysis.view.check import check_examples_apart
from tests.conftest import cifar


def without_statistics(names: tuple[str, ...]) -> nn.Module:
    model = cifar(8)
    for name in names:
        norm = model.get_submodule(name)
        norm.track_running_stats = False  # type: ignore[assignment]
        norm.running_mean = norm.running_var = None  # type: ignore[assignment]
    return model


class Around(nn.Module):
    """A change before or after a model that is fine by itself."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.body, self.kind = cifar(8), kind

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "less the mean":
            x = x - x.mean(0)
        if self.kind == "less the next":
            x = x + 0.1 * x.roll(1, 0)
        y = self.body(x)
        return y / x.shape[0] if self.kind == "by the number" else y


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("kind", ["less the mean", "less the next", "by the number"])
@pytest.mark.parametrize("submodule", [None, "body.layer1"])
def test_models_that_read_across_the_batch(
    kind: str, rows: int, submodule: str | None, images: Tensor
) -> None:
    with pytest.raises(UnravelError, match=r"Around mixes the examples .* reads across the batch"):
        unravel(Around(kind), images[:rows], submodule=submodule)


def test_constant_examples_show_it_too() -> None:
    with pytest.raises(UnravelError, match="mixes the examples"):
        unravel(Around("less the next"), torch.zeros(1, 3, 16, 16))


def test_a_fixed_batch_size_is_kept(images: Tensor) -> None:
    seen: list[int] = []

    def run(x: Tensor) -> Tensor:
        seen.append(len(x))
        return x.flatten(1) - x.flatten(1).mean(0)

    with pytest.raises(UnravelError, match="Five mixes the examples"):
        check_examples_apart(nn.Identity(), run, images[:5], "Five", 5)  # type: ignore[arg-type]
    check_examples_apart(nn.Identity(), lambda x: x, images[:5], "Five", 5)  # type: ignore[arg-type, return-value]
    assert seen == [5, 5]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("layer1.0.bn2",), r"statistics \(layer1.0.bn2\); load"),
        (
            ("bn1", "layer1.0.bn1", "layer1.0.bn2", "layer3.0.bn1"),
            r"\(bn1, layer1.0.bn1, layer1.0.bn2 and 1 more\)",
        ),
    ],
)
def test_batch_norm_without_statistics_is_named(
    names: tuple[str, ...], words: str, images: Tensor
) -> None:
    with pytest.raises(UnravelError, match=words):
        unravel(without_statistics(names), images)


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_other_precisions_are_held_to_their_own(kind: torch.dtype, images: Tensor) -> None:
    assert len(unravel(cifar(8).to(kind), images[:2].to(kind))) == 3
    with pytest.raises(UnravelError, match="mixes the examples"):
        unravel(Around("less the mean").to(kind), images[:2].to(kind))
