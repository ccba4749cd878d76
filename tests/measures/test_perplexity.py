"""Perplexity against transformers' own loss, and against a loop over positions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import resanalysis as ra
from resanalysis.datasets import Dataset
from resanalysis.measures.perplexity import perplexity, predicted_tokens
from tests import language
from tests.conftest import Batches, cifar


@pytest.fixture(scope="module")
def gpt2() -> Any:
    return language.gpt2(len(language.tokenizer()))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    language.tokenizer().save_pretrained(folder)
    (folder / "text.txt").write_text(language.TEXT)
    return folder


@pytest.fixture(scope="module")
def blocks(words: Path) -> Dataset:
    return ra.dataset(f"text:{words / 'text.txt'}?length=8", tokenizer=words)


@pytest.fixture(scope="module")
def lines(words: Path) -> Dataset:
    return ra.dataset(f"text:{words / 'text.txt'}?by=line&length=16", tokenizer=words)


def without_layer(model: Any, layer: int, inputs: dict[str, Any], labels: torch.Tensor) -> float:
    """transformers' own mean loss with both branches of a layer zeroed by hooks."""

    def zeroed(_: Any, __: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (torch.zeros_like(output[0]), *output[1:])
        return torch.zeros_like(output)

    block = model.transformer.h[layer]
    hooks = [part.register_forward_hook(zeroed) for part in (block.attn, block.mlp)]
    try:
        with torch.no_grad():
            return float(model(**inputs, labels=labels).loss)
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("kind", ["blocks", "lines"])
def test_it_is_what_transformers_loss_says(
    gpt2: Any, kind: str, request: pytest.FixtureRequest
) -> None:
    data: Dataset = request.getfixturevalue(kind)
    inputs, labels = data.batch(0, len(data))
    assert isinstance(inputs, dict)
    assert labels is not None
    if kind == "blocks":
        assert torch.equal(labels, inputs["input_ids"])
    else:
        assert len(set((labels != -100).sum(1).tolist())) > 1  # texts that do not weigh the same
    network = ra.unravel(gpt2, inputs, group="layer")
    frame = ra.lesion(network, data, batch_size=2).set_index("unit")
    with torch.no_grad():
        whole = float(gpt2(**inputs, labels=labels).loss)
    assert frame.loc[-1, "perplexity"] == pytest.approx(math.exp(whole), rel=1e-5)
    for layer in range(3):
        loss = without_layer(gpt2, layer, inputs, labels)
        assert frame.loc[layer, "perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)


def test_padded_lines_by_hand(gpt2: Any, lines: Dataset) -> None:
    """Each line alone, without padding or mask, position by position."""
    cutter = language.tokenizer()
    total, count = 0.0, []
    for line in language.LINES:
        ids = cutter(line)["input_ids"][:16]
        if len(ids) < 2:
            continue
        with torch.no_grad():
            logits = gpt2(input_ids=torch.tensor([ids])).logits[0]
        total += sum(-float(logits[t].log_softmax(0)[ids[t + 1]]) for t in range(len(ids) - 1))
        count.append(len(ids) - 1)
    counted = predicted_tokens(lines)
    assert counted is not None
    assert counted.tolist() == count
    network = ra.unravel(gpt2, lines.batch(0, 2)[0], group="layer")
    frame = ra.lesion(network, lines)
    assert frame["perplexity"].iloc[0] == pytest.approx(math.exp(total / sum(count)), rel=1e-5)
    # The mean over texts of their mean losses is another number.
    assert abs(frame["perplexity"].iloc[0] - math.exp(frame["loss"].iloc[0])) > 0.1


def test_the_interval_draws_whole_texts() -> None:
    rng = np.random.default_rng(0)
    losses, tokens = rng.uniform(1, 5, 30), rng.integers(1, 40, 30)
    found = perplexity(losses, tokens)
    assert found.mean == pytest.approx(math.exp((losses * tokens).sum() / tokens.sum()))
    draws = []
    for _ in range(4000):
        drawn = rng.integers(0, 30, 30)
        draws.append(math.exp((losses * tokens)[drawn].sum() / tokens[drawn].sum()))
    low, high = np.quantile(draws, [0.025, 0.975])
    assert found.low == pytest.approx(low, rel=0.03)
    assert found.high == pytest.approx(high, rel=0.03)
    assert perplexity(losses, tokens) == found
    assert perplexity(losses, tokens, seed=1) != found
    # Tokens drawn one by one would claim to know it far better.
    every = np.repeat(losses, tokens)
    alone = perplexity(every, np.ones(len(every), int))
    assert alone.mean == pytest.approx(found.mean)
    assert alone.high - alone.low < 0.5 * (found.high - found.low)


def test_what_has_no_interval_or_no_perplexity() -> None:
    mean, low, high = perplexity([2.0], [7])
    assert mean == pytest.approx(math.exp(2))
    assert math.isnan(low)
    assert math.isnan(high)
    assert perplexity([1.0, np.inf], [3, 3]).mean == math.inf
    assert perplexity([1.0, 1e4], [3, 3]).mean == math.inf
    assert math.isnan(perplexity([1.0, np.nan], [3, 3]).mean)
    assert perplexity([2.0, np.nan, 2.0], [3, 0, 3]).mean == pytest.approx(math.exp(2))
    with pytest.raises(ValueError, match="needs at least one predicted token, got none"):
        perplexity([np.nan], [0])
    with pytest.raises(ValueError, match=r"belong to each text, got \(2,\) and \(3,\)"):
        perplexity([1.0, 2.0], [1, 2, 3])


def test_images_have_no_perplexity(batches: Batches) -> None:
    assert predicted_tokens(batches) is None
    assert predicted_tokens(Batches(batches.inputs, None)) is None
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (10, 3, 16, 16), dtype=np.uint8)
    data = ra.image_dataset(images, rng.integers(0, 5, 10), mean=[0.5] * 3, std=[0.25] * 3)
    frame = ra.lesion(ra.unravel(cifar(8), data.batch(0, 2)[0]), data)
    assert not [name for name in frame.columns if "perplexity" in name]


def test_it_can_be_drawn(gpt2: Any, blocks: Dataset) -> None:
    frame = ra.lesion(ra.unravel(gpt2, blocks.batch(0, 2)[0], group="layer"), blocks)
    (ax,) = ra.figures.lesion(frame, metric="perplexity").axes
    assert ax.get_ylabel() == "Perplexity"
    (points,) = ax.containers
    drawn = points.lines[0].get_ydata()
    assert np.asarray(drawn).tolist() == frame["perplexity"].tolist()[1:]
