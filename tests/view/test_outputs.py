"""Which output is analysed: one rule for graphs and for what was computed, and a name where no rule fits."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from resanalysis import UnravelError, unravel
from resanalysis.view.outputs import logits_of
from tests.conftest import cifar

A, B, C = torch.zeros(2, 3), torch.ones(2, 3), torch.full((2, 5), 2.0)
WHOLE = torch.zeros(2, 3, dtype=torch.long)


class Pair(NamedTuple):
    features: Tensor
    logits: Tensor


@pytest.mark.parametrize(
    ("returned", "chosen"),
    [
        (A, A),
        ({"x": A, "which": WHOLE}, A),
        ({"x": A, "logits": B}, B),
        ({"out": A, "aux": B}, A),
        ({"pooler_output": A, "last_hidden_state": B}, None),
        ({"seq_relationship_logits": A, "hidden": B}, A),
        ({"start_logits": A, "end_logits": B}, None),
        (Pair(A, B), B),
        ((A, B), None),
        ({"loss": torch.tensor(1.0), "inner": {"logits": B}}, B),
        ([{"boxes": A, "scores": B}], None),
        ({"value": torch.zeros(2)}, None),
        (None, None),
    ],
)
def test_the_rule(returned: Any, chosen: Tensor | None) -> None:
    assert logits_of(returned) is chosen


def test_an_output_by_name() -> None:
    assert logits_of({"x": A, "hidden": (B, C)}, "hidden.1") is C
    assert logits_of((A, B), "1") is B
    with pytest.raises(UnravelError, match=r"no float tensor called 'y'; it returns x \(2, 3\), z"):
        logits_of({"x": A, "z": B}, "y")


class Encoder(nn.Module):
    """What an encoder without a head returns."""

    def __init__(self) -> None:
        super().__init__()
        self.body = cifar(8)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        h = torch.relu(self.body.bn1(self.body.conv1(x)))
        h = self.body.layer3(self.body.layer2(self.body.layer1(h)))
        return OrderedDict(last_hidden_state=h, pooler_output=h.mean((2, 3)).tanh())


@pytest.mark.parametrize("submodule", [None, "body.layer1"])
def test_an_encoder_without_a_head_is_asked_about(images: Tensor, submodule: str | None) -> None:
    model = Encoder().eval()
    if submodule is None:
        with pytest.raises(
            UnravelError,
            match=r"several tensors, .* last_hidden_state \(N, 16, 4, 4\), pooler_output \(N, 16\)\. Say",
        ):
            unravel(model, images[:2])
    for name in ("last_hidden_state", "pooler_output"):
        network = unravel(model, images[:2], output=name, submodule=submodule)
        with torch.no_grad():
            torch.testing.assert_close(network(images), model(images)[name], rtol=1e-4, atol=1e-5)
        assert network.outputs == model(images[:1])[name].numel()
    with pytest.raises(UnravelError, match="no float tensor called 'logits'; it returns last_hidd"):
        unravel(model, images[:2], output="logits", submodule=submodule)


class Last(nn.Module):
    def __init__(self, reduce: str) -> None:
        super().__init__()
        self.body, self.reduce = cifar(8), reduce

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return y.mean() if self.reduce == "all" else y[:, 0]


@pytest.mark.parametrize(
    ("reduce", "words"),
    [("all", r"\(\), one number for the whole batch"), ("row", "one number for each example")],
)
def test_outputs_that_are_no_rows_are_refused(images: Tensor, reduce: str, words: str) -> None:
    with pytest.raises(UnravelError, match=words + r".*\(N, 1\)"):
        unravel(Last(reduce), images[:2])
