"""What users hold: wrapped, compiled, adapted models, models with state; found, and left as they were."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from resanalysis import UnravelError, unravel
from tests.conftest import cifar
from tests.view.test_families import IDS, hugging_face


class Adapted(nn.Module):
    """A PEFT model as far as it concerns us: a base model with adapters, found by ``get_base_model``."""

    def __init__(self, base: nn.Module, prompt: bool = False) -> None:
        super().__init__()
        self.base_model = base
        self.active_peft_config = type("Config", (), {"is_prompt_learning": prompt})()

    def get_base_model(self) -> nn.Module:
        return self.base_model

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.base_model(*args, **kwargs)


class Loose(nn.Module):
    """``forward(self, *args, **kwargs)``."""

    def __init__(self) -> None:
        super().__init__()
        self.body = cifar(8)

    def forward(self, *args: Tensor, **kwargs: Tensor) -> Tensor:
        return self.body(args[0] + sum(kwargs.values()))


def compiled_inside() -> nn.Module:
    model = cifar(8)
    model.layer2 = torch.compile(model.layer2)  # type: ignore[assignment]
    return model


HELD = {
    "DataParallel": lambda: nn.DataParallel(cifar(8)),
    "compiled": lambda: torch.compile(cifar(8)),
    "compiled in parallel": lambda: nn.DataParallel(torch.compile(cifar(8))),  # type: ignore[arg-type]
    "compiled inside": compiled_inside,
    "adapted": lambda: Adapted(cifar(8)),
}


@pytest.mark.parametrize("kind", HELD)
def test_wrapped_models_are_the_models_inside(kind: str, images: Tensor) -> None:
    model: Any = HELD[kind]()
    parts = [type(part) for part in model.modules()]
    network = unravel(model, images[:2])
    assert [type(part) for part in model.modules()] == parts
    assert [unit.name for unit in network.units] == ["layer1.0", "layer2.0", "layer3.0"]
    assert network.name == "CifarResNet"
    with torch.no_grad():
        expected = cifar(8)(images)
        torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-5)


def test_distributed_data_parallel(images: Tensor, tmp_path: Any) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        network = unravel(nn.parallel.DistributedDataParallel(cifar(8)), images[:2])
    finally:
        torch.distributed.destroy_process_group()
    assert [unit.name for unit in network.units] == ["layer1.0", "layer2.0", "layer3.0"]


def test_adapters_of_low_rank_stay_in_the_branches() -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    torch.manual_seed(0)
    base = hugging_face("LlamaForCausalLM", "LlamaConfig")()
    config = peft.LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = peft.get_peft_model(base, config).eval()
    network = unravel(model, {"input_ids": IDS})
    assert [unit.name for unit in network.units][:2] == [
        "model.layers.0.self_attn",
        "model.layers.0.mlp",
    ]
    with torch.no_grad():
        torch.testing.assert_close(
            network({"input_ids": IDS}), model(input_ids=IDS).logits, rtol=1e-4, atol=1e-4
        )


def test_learned_prompts_are_refused(images: Tensor) -> None:
    with pytest.raises(UnravelError, match="Adapted puts learned tokens before its input"):
        unravel(Adapted(cifar(8), prompt=True), images[:2])


def test_a_forward_of_any_arguments(images: Tensor) -> None:
    model = Loose().eval()
    example = {"y": images[:2]}

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, **kwargs: Tensor) -> Tensor:
            return self.inner(kwargs["y"])

    with torch.no_grad():
        expected = model(images)
        torch.testing.assert_close(unravel(model, images[:2])(images), expected)
        torch.testing.assert_close(unravel(Named(), example)({"y": images}), expected)


@pytest.mark.parametrize(
    ("kind", "config", "options"),
    [
        ("OPTForCausalLM", "OPTConfig", {"ffn_dim": 64, "word_embed_proj_dim": 32}),
        ("GPTNeoXForCausalLM", "GPTNeoXConfig", {}),
        ("MistralForCausalLM", "MistralConfig", {"num_key_value_heads": 2}),
        ("Qwen2ForCausalLM", "Qwen2Config", {"num_key_value_heads": 2}),
    ],
)
def test_causal_language_models_as_they_are_loaded(
    kind: str, config: str, options: dict[str, int]
) -> None:
    torch.manual_seed(0)
    model = hugging_face(kind, config, use_cache=True, num_hidden_layers=2, **options)()
    network = unravel(model, IDS)
    assert model.config.use_cache is True  # type: ignore[union-attr]
    with torch.no_grad():
        expected = model.eval()(IDS).logits
        torch.testing.assert_close(network(IDS), expected, rtol=1e-4, atol=1e-4)


class Counting(nn.Module):
    """Counts its calls, replaces a running average, and draws from Python's and torch's generators."""

    calls: Tensor
    average: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.body = cifar(8)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("average", torch.zeros(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        random.random()
        torch.rand(3)
        self.calls.add_(1)
        self.average = 0.9 * self.average + 0.1 * x.detach().mean((0, 2, 3))[:, None, None]
        return self.body(x)


@pytest.mark.parametrize("submodule", [None, "body.layer1"])
def test_a_model_that_keeps_state_is_left_as_it_was(images: Tensor, submodule: str | None) -> None:
    model = Counting().train()
    model.calls.fill_(7)
    average = model.average
    states = random.getstate(), torch.random.get_rng_state(), str(np.random.get_state())
    unravel(model, images[:2], submodule=submodule)
    assert model.calls == 7
    assert model.average is average
    assert (average == 0).all()
    assert model.training
    assert random.getstate() == states[0]
    assert torch.equal(torch.random.get_rng_state(), states[1])
    assert str(np.random.get_state()) == states[2]


def test_a_model_that_cannot_be_unraveled_is_left_as_it_was(images: Tensor) -> None:
    model = Counting().train()
    with pytest.raises(UnravelError, match="no float tensor called 'features'"):
        unravel(model, images[:2], output="features")
    assert model.calls == 0
    assert model.training


def test_what_is_no_model_or_no_example_is_named(images: Tensor) -> None:
    with pytest.raises(UnravelError, match=r"takes a torch.nn.Module, got relu: put what it comp"):
        unravel(torch.relu, images[:2])  # type: ignore[arg-type]
    with pytest.raises(UnravelError, match=r"holds 0 examples \(float32 \(0, 3, 16, 16\)\)"):
        unravel(cifar(8), images[:0])


class Scalar(nn.Module):
    def __init__(self, rows: bool) -> None:
        super().__init__()
        self.body, self.rows = cifar(8), rows

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(x)
        return out[:, 0] if self.rows else out.sum()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_models_that_are_no_graph_or_have_no_rows(images: Tensor) -> None:
    quantised = torch.ao.quantization.quantize_dynamic(cifar(8), {nn.Linear})
    for model, message in (
        (
            quantised,
            r"CifarResNet is quantised \(linear is a quantised Linear\), and packed weights",
        ),
        (torch.jit.trace(cifar(8), images), "is a TorchScript program, which cannot be captured"),
        (Scalar(rows=True).eval(), r"has the shape \(N,\), one number for each example"),
        (Scalar(rows=False).eval(), r"has the shape \(\), one number for the whole batch"),
    ):
        with pytest.raises(UnravelError, match=message):
            unravel(model, images[:2])


class Bypass(nn.Module):
    """Two branches, the second of which reads the first: a lesion of the unit removes both."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.third = nn.Linear(4, 4)

    def forward(self, h: Tensor) -> Tensor:
        read = torch.tanh(self.first(h))
        h = h + read + torch.relu(self.second(read))
        return h + torch.tanh(self.third(h))


def test_a_unit_of_two_modules_is_called_after_both() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), Bypass(), nn.Linear(4, 3)).eval()
    units = unravel(model, torch.randn(2, 4)).units
    assert [unit.name for unit in units] == ["1.first+second", "1.third"]
