"""Models as people have them, and as nobody should: what is found in each, or in which words it is refused."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import resanalysis as ra

WIDTH = 4


class Block(nn.Module):
    """``h + f(h)``, or whatever ``join`` makes of the two."""

    def __init__(self, join: Callable[[Tensor, Tensor], Any] = torch.add) -> None:
        super().__init__()
        self.layer, self.join = nn.Linear(WIDTH, WIDTH), join

    def forward(self, h: Tensor) -> Any:
        return self.join(h, torch.tanh(self.layer(h)))


class Model(nn.Module):
    """Three blocks between a stem and a head; ``before`` and ``after`` are what is odd."""

    def __init__(
        self,
        block: Callable[[], nn.Module] = Block,
        before: Callable[[Tensor], Any] = lambda x: x,
        after: Callable[[Tensor], Any] = lambda y: y,
        count: int = 3,
    ) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(3, WIDTH), nn.Linear(WIDTH, 5)
        self.blocks = nn.ModuleList(block() for _ in range(count))
        self.before, self.after = before, after

    def forward(self, x: Tensor) -> Any:
        h = self.stem(self.before(x))
        for block in self.blocks:
            h = block(h)
        return self.after(self.head(h))


class Shared(Model):
    """One block, three times."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for _ in range(3):
            h = self.blocks[0](h)
        return self.head(h)


class Arguments(Model):
    def forward(self, *args: Any) -> Any:
        return super().forward(*args)


class NoGrad(Model):
    @torch.no_grad()
    def forward(self, x: Tensor) -> Any:
        return super().forward(x)


def in_place(h: Tensor, f: Tensor) -> Tensor:
    h += f
    return h


def by_value(x: Tensor) -> Tensor:
    return x + 1 if float(x.detach().sum()) > 0 else x - 1


def stopped(x: Tensor) -> Tensor:
    raise SystemExit(3)


def half_parametrised() -> nn.Module:
    model = Model()
    nn.utils.parametrizations.spectral_norm(model.blocks[1].layer)
    return model


def hooked() -> nn.Module:
    model = Model()
    model.blocks[0].register_forward_hook(lambda module, args, out: 2 * out)
    return model


def renamed(name: str) -> nn.Module:
    model = Model()
    model.blocks = nn.ModuleDict({name: Block(), "other": Block()})
    model.forward = lambda x: model.head(model.blocks["other"](model.blocks[name](model.stem(x))))
    return model


def frozen() -> nn.Module:
    return Model().requires_grad_(False)


def nan_weight() -> nn.Module:
    model = Model()
    with torch.no_grad():
        model.head.weight[0, 0] = torch.nan
    return model


class Output(dict[str, Tensor]):
    """A class of mappings that torch does not know."""


@dataclass
class Unknown:
    scores: Tensor


# The model, and how many units are found in it, or a part of the words it is refused with.
MODELS: dict[str, tuple[Callable[[], Any], int | str]] = {
    "as in the papers": (Model, 3),
    "one block, three times": (Shared, 3),
    "in place": (lambda: Model(lambda: Block(in_place)), 3),
    "the branch first": (lambda: Model(lambda: Block(lambda h, f: f + h)), 3),
    "subtracted": (lambda: Model(lambda: Block(torch.sub)), "there is no addition of two tensors"),
    "scaled branches": (lambda: Model(lambda: Block(lambda h, f: h + 0.1 * f)), 3),
    "alpha of add": (lambda: Model(lambda: Block(lambda h, f: h.add(f, alpha=0.5))), 3),
    "sum of a stack": (lambda: Model(lambda: Block(lambda h, f: torch.stack([h, f]).sum(0))), "no chain of"),
    "relu after the sum": (lambda: Model(lambda: Block(lambda h, f: (h + f).relu())), 3),
    "concatenated": (lambda: Model(lambda: Block(lambda h, f: torch.cat([h, f], 1)[:, 2:6])), "no chain of"),
    "multiplied": (lambda: Model(lambda: Block(torch.mul)), "there is no addition of two tensors"),
    "no block at all": (lambda: Model(count=0), "there is no addition of two tensors"),
    "in the mode of training": (lambda: Model().train(), 3),
    "frozen": (frozen, 3),
    "parametrised": (half_parametrised, 3),
    "with a hook": (hooked, 3),
    "without gradients": (NoGrad, 3),
    "of any arguments": (Arguments, 3),
    "in double precision": (lambda: Model(before=Tensor.double).double(), 3),
    "in half": (lambda: Model(before=Tensor.bfloat16).bfloat16(), 3),
    "compiled": (lambda: torch.compile(Model()), 3),
    "in parallel": (lambda: nn.DataParallel(Model()), 3),
    "a tuple of one": (lambda: Model(after=lambda y: (y,)), 3),
    "a dict with logits": (lambda: Model(after=lambda y: {"aux": y[:, :2], "logits": y}), 3),
    "a dict without": (lambda: Model(after=lambda y: {"a": y, "b": y + 1}), "none is called logits"),
    "nothing": (lambda: Model(after=lambda y: None), "no float tensor"),
    "text": (lambda: Model(after=lambda y: "cat"), "no float tensor"),
    "whole numbers": (lambda: Model(after=lambda y: y.argmax(1)), "no float tensor"),
    "complex numbers": (lambda: Model(after=lambda y: y + 1j), "no float tensor"),
    "one number": (lambda: Model(after=Tensor.sum), "one number for the whole batch"),
    "one number each": (lambda: Model(after=lambda y: y[:, 0]), "one number for each example"),
    "a class of its own": (lambda: Model(after=lambda y: Unknown(y)), "Unknown"),
    "random": (lambda: Model(after=lambda y: y + torch.randn_like(y)), "may be random in eval mode"),
    "Python's random": (lambda: Model(before=lambda x: x * random.choice([1, 1])), 3),
    "across the batch": (lambda: Model(before=lambda x: x - x.mean(0)), "mixes the examples of a"),
    "a part called in": (lambda: renamed("in"), "cannot write the name blocks.in.layer.weight"),
    "a quote in a name": (lambda: renamed('a"b'), 'cannot write the name blocks.a"b.layer.weight'),
    "a line end in a name": (lambda: renamed("a\nb"), "the name blocks.a\\nb.layer.weight"),
    "a bracket in a name": (lambda: renamed("[bold]"), 2),
    "by value": (lambda: Model(before=by_value), "control flow of Model cannot be captured"),
    "through numpy": (
        lambda: Model(before=lambda x: torch.from_numpy(x.detach().numpy() * 2)), "Model"
    ),
    "a NaN among its weights": (nan_weight, "itself is NaN or infinite on the example"),
    "infinite": (lambda: Model(after=lambda y: y / 0), "itself is NaN or infinite on the example"),
    "one that ends the program": (lambda: Model(before=stopped), "SystemExit"),
    "one that cannot be called": (lambda: nn.Linear(7, 2), "cannot be called with the example"),
    "a function": (lambda: torch.relu, "takes a torch.nn.Module, got relu"),
    "a class": (lambda: Model, "takes a torch.nn.Module, got Model"),
    "a state dict": (lambda: Model().state_dict(), "takes a torch.nn.Module, got OrderedDict"),
    "None": (lambda: None, "takes a torch.nn.Module, got NoneType"),
}  # fmt: skip

FOUND = Counter[str]()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", MODELS)
def test_every_model_gets_an_answer(kind: str) -> None:
    make, expected = MODELS[kind]
    torch.manual_seed(0)
    model, x = make(), torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    modes = [part.training for part in model.modules()] if isinstance(model, nn.Module) else []
    state = torch.get_rng_state(), random.getstate()
    if isinstance(expected, str):
        with pytest.raises(ra.UnravelError) as caught:
            ra.unravel(model, x)
        assert expected in str(caught.value)
        assert str(caught.value).isprintable()
        assert "unexpected" not in str(caught.value)
        FOUND["refused in words"] += 1
    else:
        network = ra.unravel(model, x)
        assert len(network.units) == expected
        with torch.no_grad():
            # What compiling makes is torch's, and takes a minute.
            output = getattr(model, "_orig_mod", model).eval()(x)
            output = output["logits"] if isinstance(output, dict) else output
            output = output[0] if isinstance(output, tuple) else output
            tolerance = 2e-2 if output.dtype is torch.bfloat16 else 1e-5
            torch.testing.assert_close(network(x), output, rtol=tolerance, atol=tolerance)
        FOUND["found"] += 1
    if isinstance(model, nn.Module) and isinstance(expected, str):
        assert [part.training for part in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state[0])
    if kind != "Python's random":  # the call above draws once more
        assert random.getstate() == state[1]


def test_counts() -> None:
    print(f"\n{sum(FOUND.values())} odd models: {dict(FOUND)}")
    assert len(MODELS) > 40
