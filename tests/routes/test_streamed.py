"""Weights read a unit at a time give what the same network gives in memory, to the bit."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, fx

import resanalysis as ra
from resanalysis import Answers, ResanalysisError
from resanalysis.checkpoint import ModelInfo
from resanalysis.datasets.tokens import token_dataset
from resanalysis.experiments import experiment_named
from resanalysis.network import ResidualNetwork
from resanalysis.routes import streamed
from resanalysis.routes.evaluator import evaluate
from resanalysis.routes.route import cut_skip, reordered, scaled, without
from tests import language

WORDS, LENGTH, TEXTS = 24, 8, 7
Pair = tuple[ResidualNetwork, ResidualNetwork]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("tokens") / "tokens.npz"
    tokens = np.random.default_rng(0).integers(0, WORDS, (TEXTS, LENGTH))
    mask = np.ones_like(tokens)
    mask[2, 5:] = 0
    np.savez(path, input_ids=tokens, attention_mask=mask)
    return token_dataset(str(path))


@pytest.fixture(
    scope="module", params=["gpt2", pytest.param("llama-bf16", marks=pytest.mark.nightly)]
)
def networks(request: Any, data: Any, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """In memory, and with its weights in several files; the GPT-2's head is its embedding."""
    folder = tmp_path_factory.mktemp(request.param)
    model = language.gpt2(WORDS) if request.param == "gpt2" else language.llama(WORDS).bfloat16()
    model.save_pretrained(folder, max_shard_size="4KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    example = data.batch(0, 2)[0]
    whole, left = (
        ra.unravel(ra.load(f"hf:{folder}", stream_weights=stream), example)
        for stream in (False, True)
    )
    assert whole.files is None
    assert left.files is not None
    return whole, left


def routes_of(network: ResidualNetwork) -> list[Any]:
    units = range(len(network))
    return [
        *(without(network, [unit]) for unit in units),
        without(network, [0, 2, 3]),
        cut_skip(network, [1]),
        scaled(network, {2: 0.5}),
        reordered(network, list(reversed(units))),
    ]


@pytest.mark.parametrize("memory", [1, 2**30])  # a batch a block, and all in one
def test_scores_are_the_same_to_the_bit(networks: Pair, data: Any, memory: int) -> None:
    found, kept = [], []
    for network in networks:
        answers = Answers()
        found.append(
            evaluate(
                network, routes_of(network), data, batch_size=3, memory=memory, answers=answers,
                metric=lambda output, labels, intact: (output - intact).abs().amax((1, 2)).float(),
            ).values
        )  # fmt: skip
        kept.append(answers.values)
    assert set(found[0]) == {"error", "loss", "agreement", "kl", "metric"}
    assert len(np.unique(found[0]["loss"])) > 8 * TEXTS
    for one, other in (found, kept):
        assert set(one) == set(other)
        for name, values in one.items():
            np.testing.assert_array_equal(values, other[name], err_msg=name)


def test_a_part_is_read_once_for_a_block_of_examples(
    networks: Pair, data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, left = networks
    read: Counter[str] = Counter()
    bring = streamed.brought

    def noted(network: ResidualNetwork, place: str, device: torch.device) -> ResidualNetwork:
        read[place] += 1
        made = bring(network, place, device)
        inside = {
            name for name, part in made.parts().items() if isinstance(part, streamed.InMemory)
        }
        assert {name.partition(".")[0] for name in inside} <= {place}
        return made

    monkeypatch.setattr(streamed, "brought", noted)
    places = {"stem", *(f"unit{unit}" for unit in range(len(left))), "head"}
    singles = [without(left, [unit]) for unit in range(len(left))]
    evaluate(left, singles, data, batch_size=3, memory=2**30)
    assert read == dict.fromkeys(places, 1)
    read.clear()
    evaluate(left, singles, data, batch_size=3, memory=1)
    assert read == dict.fromkeys(places, 3)  # seven texts, three at a time


def test_what_was_brought_is_of_memory_and_the_files_stay_as_they_are(networks: Pair) -> None:
    _, left = networks
    there = left.parts()
    made = streamed.brought(left, "unit1", torch.device("cpu")).parts()
    own = [name for name in there if made[name] is not there[name]]
    assert own
    assert all(name.startswith("unit1.") for name in own)
    for name in own:
        part = made[name]
        assert isinstance(part, streamed.InMemory)
        for key, weight in there[name].named_parameters():
            copy = part._tensors[key]
            assert torch.equal(copy, weight)
            assert copy.data_ptr() != weight.data_ptr()
    shared = [made[name]._tensors for name in ("unit1.whole", "unit1.full")]  # type: ignore[union-attr]
    assert {id(t) for t in shared[0].values()} <= {id(t) for t in shared[1].values()}


def test_on_another_device_all_but_the_weights_is_there(networks: Pair) -> None:
    _, left = networks
    placed = streamed.placed_graphs(left, torch.device("meta"))

    def named(network: ResidualNetwork) -> set[str]:
        modules = [module for part in network.parts().values() for module in part.modules()]
        graphs = [module.graph for module in modules if isinstance(module, fx.GraphModule)]
        devices = [node.kwargs.get("device") for graph in graphs for node in graph.nodes]
        return {str(device) for device in devices if device is not None}

    assert named(left) == {"cpu"}
    assert named(placed) == {"meta"}
    for one, other in zip(left.parts().values(), placed.parts().values(), strict=True):
        for weight, same in zip(one.parameters(), other.parameters(), strict=True):
            assert weight is same
    assert streamed.placed_graphs(left, torch.device("cpu")) is left


@pytest.mark.parametrize(
    ("stem", "options"),
    [
        ("lesion", {}),
        ("lesion", {"part": "skip"}),
        ("lesion_many", {"removed": (1, 3), "draws": 3}),
        ("reorder", {"draws": 4}),
    ],
)
def test_tables_are_the_same(networks: Pair, data: Any, stem: str, options: dict[str, Any]) -> None:
    one, other = (getattr(ra, stem)(network, data, **options) for network in networks)
    assert one.equals(other)


def test_single_lesions_stop_alike(networks: Pair, data: Any) -> None:
    one, other = (ra.lesion(network, data, until_width=1.5) for network in networks)
    assert one.equals(other)


@pytest.mark.parametrize("options", [{"recalibrate": 3}, {"replace": "mean"}])
def test_what_needs_other_weights_is_refused(
    networks: Pair, data: Any, options: dict[str, Any]
) -> None:
    (name,) = options
    with pytest.raises(ResanalysisError, match=f"--{name} .*--stream-weights"):
        ra.lesion(networks[1], data, **options)


def test_bf16_of_other_weights_is_refused(networks: Pair, data: Any) -> None:
    half = replace(networks[1], arithmetic="bf16")
    with pytest.raises(ResanalysisError, match=r"--arithmetic .*--stream-weights"):
        ra.lesion(half, data)


def test_other_experiments_say_which_ones_can(networks: Pair) -> None:
    class Subject:
        network = networks[1]
        modules: ClassVar = {"big": torch.nn.Linear(1, 1)}
        survival = None

    object.__setattr__(
        Subject.modules["big"], "resanalysis", ModelInfo("hf:big", files=networks[1].files)
    )
    with pytest.raises(
        ResanalysisError, match=r"gradients needs all weights of big .*lesion and reorder"
    ):
        experiment_named("gradients").measure(Subject())
    assert len(experiment_named("paths").measure(Subject())["paths"]) > 1


def test_a_part_alone_is_refused(tmp_path: Path, data: Any) -> None:
    folder = language.saved(tmp_path, language.gpt2(WORDS), None)
    model = ra.load(f"hf:{folder}", stream_weights=True)
    with pytest.raises(ResanalysisError, match="leave it or --submodule out"):
        ra.unravel(model, data.batch(0, 2)[0], submodule="transformer")


def test_a_copy_in_memory_has_no_files(networks: Pair) -> None:
    whole, left = networks
    copied = left.to("cpu")
    assert copied.files is None
    tokens: dict[str, Tensor] = {
        "input_ids": torch.arange(LENGTH)[None],
        "attention_mask": torch.ones(1, LENGTH, dtype=torch.long),
    }
    assert torch.equal(copied(tokens), whole(tokens))
