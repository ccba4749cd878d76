"""Evaluation in bf16, and TF32 only where it is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import resanalysis as ra
from resanalysis.datasets import Dataset
from resanalysis.network import Arithmetic
from resanalysis.routes.arithmetic import computing_in
from resanalysis.routes.batches import Batches as Some
from resanalysis.routes.evaluator import intact_logits, placed_network
from tests.conftest import Batches, cifar, settle


def flags() -> tuple[object, object]:
    """Of products and convolutions, ``tf32`` or not; torch before 2.9 has other names for them."""
    if hasattr(torch.backends.cudnn, "conv"):
        return torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision
    allowed = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    return tuple("tf32" if one else "ieee" for one in allowed)  # type: ignore[return-value]


@pytest.mark.parametrize("arithmetic", get_args(Arithmetic))
def test_tf32_is_on_inside_only_if_asked_for(arithmetic: str) -> None:
    before = flags()
    wanted = "ieee" if arithmetic == "float32" else "tf32"
    with computing_in(arithmetic):  # type: ignore[arg-type]
        assert flags() == (wanted, wanted)
    assert flags() == before
    if arithmetic == "float32":
        assert not torch.backends.cuda.matmul.allow_tf32


def routes(network: ra.ResidualNetwork) -> list[ra.Route]:
    single = [ra.without(network, [unit]) for unit in range(len(network))]
    return [ra.intact(network), *single, ra.scaled(network, {1: 0.5}), ra.cut_skip(network, [1])]


@pytest.mark.parametrize("fast", [True, False])
def test_bf16_is_near_float32_and_leaves_the_network_as_it_was(
    batches: Batches, fast: bool
) -> None:
    network = ra.unravel(cifar(14, shortcut="B"), batches.inputs)
    half = replace(network, arithmetic="bf16")
    exact = ra.evaluate(network, routes(network), batches, fast=fast)
    rough = ra.evaluate(half, routes(half), batches, fast=fast)
    difference = np.abs(exact.values["loss"] - rough.values["loss"])
    assert 0 < difference.max() < 0.2 * exact.values["loss"].max()
    assert np.corrcoef(exact.mean("loss"), rough.mean("loss"))[0, 1] > 0.999
    assert half.float_type is network.float_type is torch.float32
    again = ra.evaluate(network, routes(network), batches, fast=fast)
    assert np.array_equal(again.values["loss"], exact.values["loss"])
    with torch.no_grad():
        logits = intact_logits(placed_network(half), Some.of(half, batches).batch(0, 3))
    assert logits.dtype is torch.bfloat16


class Tokens(Batches):
    def batch(self, start: int, stop: int) -> tuple[dict[str, Tensor], Tensor]:  # type: ignore[override]
        return {"input_ids": self.inputs[start:stop]}, self.inputs[start:stop]


@pytest.mark.nightly
def test_bf16_of_a_language_model() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=60, use_cache=False,
    )  # fmt: skip
    model = settle(transformers.LlamaForCausalLM(config))
    data = Tokens(torch.randint(60, (5, 9), generator=torch.Generator().manual_seed(0)), None)
    network = ra.unravel(model, data.batch(0, 2)[0], group="layer")
    single = [ra.intact(network), ra.without(network, [1])]
    exact = ra.evaluate(network, single, data).mean("loss")
    rough = ra.evaluate(replace(network, arithmetic="bf16"), single, data).mean("loss")
    assert rough == pytest.approx(exact, rel=0.02)
    assert not np.array_equal(rough, exact)
    by_unit = replace(ra.unravel(model, data.batch(0, 2)[0]), arithmetic="bf16")
    both = [ra.intact(by_unit), ra.without(by_unit, [2, 3])]
    assert ra.evaluate(by_unit, both, data).mean("loss") == pytest.approx(exact, rel=0.02)


class Around(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = cifar(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


@pytest.mark.parametrize("fast", [True, False])
def test_a_part_of_a_larger_model_is_refused(batches: Batches, fast: bool) -> None:
    half = replace(ra.unravel(Around().eval(), batches.inputs, submodule="net"), arithmetic="bf16")
    with pytest.raises(
        ValueError, match="bf16 is for whole models: what is around a part of Around"
    ):
        ra.evaluate(half, [ra.intact(half)], batches, fast=fast)


def test_the_command_line_records_it(tmp_path: Path) -> None:
    import json

    from typer.testing import CliRunner

    from resanalysis.cli import app

    torch.save(cifar(8).state_dict(), tmp_path / "m.pt")
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "d.npz", images=images, labels=np.arange(4))
    words = [
        "lesion",
        str(tmp_path / "m.pt"),
        "--data",
        str(tmp_path / "d.npz"),
        "--normalize",
        "none",
    ]
    options = ["--arithmetic", "bf16", "--out", str(tmp_path), "--quiet"]
    assert CliRunner().invoke(app, [*words, *options]).exit_code == 0
    entry = json.loads((tmp_path / "manifest.json").read_text())["lesion"]
    assert entry["view"]["arithmetic"] == "bf16"
    wrong = CliRunner().invoke(app, [*words, "--arithmetic", "half"])
    assert wrong.exit_code == 2


def test_what_cannot_be_in_bf16_refuses_it(batches: Batches) -> None:
    model = cifar(8)
    half = replace(ra.unravel(model, batches.inputs), arithmetic="bf16")
    data = labelled()
    for measure in (ra.gradients, ra.unit_share, ra.stream, ra.stream_images, ra.stream_spans):
        with pytest.raises(ra.ResanalysisError, match=r"^bf16 is for routes, which are only scored; "
                           r"gradients and streams are measured in float32 or tf32: leave "):  # fmt: skip
            measure(half, data)
    with pytest.raises(
        ra.ResanalysisError, match=r"^bf16 is for routes, .*; responses are measured "
    ):
        ra.response(model, data, arithmetic="bf16")


def labelled() -> Dataset:
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 16, 16), dtype=np.uint8)
    return ra.image_dataset(images, np.array([0, 1, 2]), mean=(0.5,) * 3, std=(0.25,) * 3)


def test_gradients_streams_and_responses_run_in_what_was_asked_for(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's own default for convolutions on a GPU is TF32, which float32 must not mean."""
    seen: list[str] = []

    def noting(arithmetic: str) -> Any:
        seen.append(arithmetic)
        return computing_in(arithmetic)  # type: ignore[arg-type]

    monkeypatch.setattr("resanalysis.routes.batches.computing_in", noting)
    model, data = cifar(8), labelled()
    for arithmetic in ("float32", "tf32"):
        network = replace(ra.unravel(model, batches.inputs), arithmetic=arithmetic)
        for measure in (
            lambda one=network: ra.gradients(one, data, method="exact"),
            lambda one=network: ra.unit_share(one, data),
            lambda one=network: ra.stream(one, data),
            lambda one=network: ra.stream_spans(one, data),
            lambda how=arithmetic: ra.response(model, data, arithmetic=how),
            lambda one=network: ra.evaluate(one, [ra.intact(one)], data),
        ):
            seen.clear()
            measure()
            assert seen == [arithmetic]
