"""The files of a shortened model run with torch alone, come back, and keep the model's own names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import resanalysis as ra
from resanalysis.network import ResidualNetwork
from resanalysis.routes.route import intact, without
from resanalysis.run.shortened_files import remaining_state, write_shortened
from tests.conftest import cifar
from tests.routes.test_shortening import along, images

ALONE = """
import sys, torch
path, inputs, outputs = sys.argv[1:]
x = torch.load(inputs)
module = torch.export.load(path).module()
with torch.no_grad():
    result = module(**x) if isinstance(x, dict) else module(x)
torch.save(result, outputs)
assert "resanalysis" not in sys.modules
"""


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return cifar(14)


@pytest.fixture(scope="module")
def network(model: nn.Module) -> ResidualNetwork:
    return ra.unravel(model, images(2))


@pytest.fixture(scope="module")
def gpt2() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=29, n_positions=8, n_embd=12, n_layer=3, n_head=2, use_cache=False,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config).eval()


def tokens(count: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "input_ids": torch.randint(29, (count, 6), generator=generator),
        "attention_mask": torch.ones(count, 6, dtype=torch.int64),
    }


def test_files_run_with_torch_alone_and_come_back(
    model: nn.Module, network: ResidualNetwork, tmp_path: Path
) -> None:
    paths = write_shortened(
        tmp_path, network, [3, 1], model=model, example=images(2), facts={"order": "greedy"}
    )
    assert [path.name for path in paths] == ["shortened.pt2", "shortened.pt", "shortened.json"]
    x = images(7, seed=3)
    expected = along(network, without(network, [1, 3]), x)
    torch.save(x, tmp_path / "x.pt")
    (tmp_path / "alone.py").write_text(ALONE)
    words = [str(tmp_path / name) for name in ("alone.py", "shortened.pt2", "x.pt", "y.pt")]
    subprocess.run([sys.executable, *words], check=True, cwd=tmp_path, timeout=120)
    torch.testing.assert_close(torch.load(tmp_path / "y.pt"), expected)

    again = ra.load(paths[0])
    chain = ra.unravel(again, images(2))
    assert [unit.name for unit in chain.units] == ["layer1.0", "layer2.0", "layer3.0", "layer3.1"]
    torch.testing.assert_close(along(chain, intact(chain), x), expected)

    record = json.loads(paths[2].read_text())
    assert record["removed"] == [
        {"unit": 3, "name": "layer2.1"}, {"unit": 1, "name": "layer1.1"},
    ]  # fmt: skip
    assert [unit["unit"] for unit in record["left"]] == [0, 2, 4, 5]
    assert record["inputs"] == {"x": ["batch", 3, 16, 16]}
    assert record["order"] == "greedy"
    assert record["parameters_before"] == sum(p.numel() for p in model.parameters())
    lost = sum(unit.parameters for unit in network.units if unit.index in (1, 3))
    assert record["parameters"] == record["parameters_before"] - lost


def test_the_state_dict_is_the_models_own_without_what_went(
    model: nn.Module, network: ResidualNetwork, tmp_path: Path
) -> None:
    write_shortened(tmp_path, network, [2, 3], model=model, example=images(2))
    left = torch.load(tmp_path / "shortened.pt", weights_only=True)
    gone = ("layer2.0.", "layer2.1.")
    expected = {n: v for n, v in model.state_dict().items() if not n.startswith(gone)}
    assert list(left) == list(expected)
    for name, value in expected.items():
        assert torch.equal(left[name], value)
    record = json.loads((tmp_path / "shortened.json").read_text())
    assert set(record["tensors_gone"]) == set(model.state_dict()) - set(expected)


def test_a_projection_stays_and_ties_stay(gpt2: nn.Module) -> None:
    model = cifar(8, shortcut="B")
    network = ra.unravel(model, images(2))
    assert network.units[1].skip_kind == "projection"
    left = remaining_state(network, [1], model)
    gone = set(model.state_dict()) - set(left)
    assert gone == {
        name for name in model.state_dict()
        if name.startswith("layer2.0.") and "shortcut" not in name
    }  # fmt: skip
    language = ra.unravel(gpt2, tokens(2))
    left = remaining_state(language, [0], gpt2)
    tied = left["lm_head.weight"].data_ptr() == left["transformer.wte.weight"].data_ptr()
    assert tied
    assert left["lm_head.weight"].data_ptr() != gpt2.state_dict()["lm_head.weight"].data_ptr()
    assert not [name for name in left if name.startswith("transformer.h.0.attn")]
    assert "transformer.h.0.mlp.c_fc.weight" in left


@pytest.mark.parametrize(
    ("group", "gone", "left"),
    [
        pytest.param(
            "unit", (1, 4), ("0.attn", "1", "2.mlp"), marks=[pytest.mark.slow, pytest.mark.nightly]
        ),
        ("layer", (1,), ("0", "2")),
    ],
)
def test_language_models(
    gpt2: nn.Module, group: str, gone: tuple[int, ...], left: tuple[str, ...], tmp_path: Path
) -> None:
    network = ra.unravel(gpt2, tokens(2), group=group)  # type: ignore[arg-type]
    write_shortened(tmp_path, network, gone, model=gpt2, example=tokens(1))
    # Guards included, as anybody's torch.export.load gives it; also with another batch.
    module = torch.export.load(tmp_path / "shortened.pt2").module()
    inputs = tokens(3, seed=2)
    expected = along(network, without(network, gone), inputs)
    with torch.no_grad():
        torch.testing.assert_close(module(**inputs), expected)
    chain = ra.unravel(ra.load(tmp_path / "shortened.pt2"), tokens(2))
    assert len(chain) == 4
    layers = ra.unravel(ra.load(tmp_path / "shortened.pt2"), tokens(2), group="layer")
    assert [unit.name for unit in layers.units] == [f"transformer.h.{name}" for name in left]
    torch.testing.assert_close(along(chain, intact(chain), inputs), expected)


def test_nothing_removed_is_not_written(
    model: nn.Module, network: ResidualNetwork, tmp_path: Path
) -> None:
    (tmp_path / "shortened.pt2").write_text("mine")
    with pytest.raises(ValueError, match="no unit is removed: the shortened model would be the"):
        write_shortened(tmp_path, network, [], model=model, example=images(2))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
