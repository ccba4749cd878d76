"""Hidden tokens: which, what is read in their place, and the loss against transformers' own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import resanalysis as ra
from resanalysis.checkpoint import ModelInfo
from resanalysis.checkpoint.libraries import _predicts
from resanalysis.cli import app
from resanalysis.datasets import DataError, Dataset
from resanalysis.datasets.halves import two_parts
from resanalysis.datasets.masked import NO_TARGET, Vocabulary, hidden
from resanalysis.run.model_data import data_for
from tests import language

VOCABULARY = Vocabulary(size=40, mask=4, special=(0, 1, 2, 3, 4))


def saved(folder: Path, kind: str) -> Path:
    cutter = language.bert_tokenizer()
    return language.saved(folder, language.bert(len(cutter), kind), cutter)


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("masked"), "BertForMaskedLM")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("encoder"), "BertModel")


def test_what_is_hidden_one_token_at_a_time() -> None:
    tokens = np.random.default_rng(0).integers(0, 40, (300, 30))
    there = (np.arange(30) < np.random.default_rng(1).integers(1, 31, (300, 1))).astype(np.int64)
    read, targets, usable = hidden(tokens, there, VOCABULARY, 3)
    as_it_was = masks = 0
    for row in range(300):
        ordinary = [t for t in range(29) if there[row, t] and tokens[row, t] > 4]
        chosen = [t for t in range(29) if targets[row, t + 1] != NO_TARGET]
        assert usable[row] == bool(ordinary)
        assert len(chosen) == (max(1, round(0.15 * len(ordinary))) if ordinary else 0)
        assert set(chosen) <= set(ordinary)
        assert all(targets[row, t + 1] == tokens[row, t] for t in chosen)
        assert all(read[row, t] == tokens[row, t] for t in range(30) if t not in chosen)
        masks += sum(read[row, t] == 4 for t in chosen)
        as_it_was += sum(read[row, t] == tokens[row, t] for t in chosen)
    assert (targets[:, 0] == NO_TARGET).all()
    count = int((targets != NO_TARGET).sum())
    # 80 % masked, and one in 40 of the 10 % random ones too; 10 % and as many as they were.
    for found, share in ((masks, 0.8025), (as_it_was, 0.1025)):
        assert abs(found / count - share) < 4 * np.sqrt(share * (1 - share) / count)
    again = hidden(tokens[:7], there[:7], VOCABULARY, 3)
    assert (again[0] == read[:7]).all()
    assert (hidden(tokens, there, VOCABULARY, 4)[1] != targets).any()


def losses_of(folder: Path, data: Dataset) -> list[tuple[float, int]]:
    """Transformers' own loss of each text, and its number of hidden tokens; by one call each."""
    transformers = pytest.importorskip("transformers")
    model = transformers.BertForMaskedLM.from_pretrained(folder).eval()
    found = []
    for row in range(len(data)):
        inputs, targets = data.batch(row, row + 1)
        assert isinstance(inputs, dict)
        assert targets is not None
        labels = torch.full_like(targets, NO_TARGET)
        labels[:, :-1] = targets[:, 1:]
        with torch.no_grad():
            loss = model(**inputs, labels=labels).loss
        found.append((float(loss), int((labels != NO_TARGET).sum())))
    return found


@pytest.mark.parametrize("query", ["?by=line", "?length=8&seed=5"])
def test_the_lesions_of_a_masked_language_model(
    masked: Path, text: Path, tmp_path: Path, query: str
) -> None:
    words = ["lesion", f"hf:{masked}", "--data", f"text:{text}{query}", "--group", "layer"]
    if "seed" in query:
        words[3] += "&labels=masked"
    result = CliRunner().invoke(app, [*words, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "lesion.csv")
    assert table["unit"].tolist() == [-1, 0, 1]
    data = ra.dataset(words[3], tokenizer=masked, predicted="masked")
    found = losses_of(masked, data)
    total, count = sum(loss * n for loss, n in found), sum(n for _, n in found)
    assert table["perplexity"][0] == pytest.approx(np.exp(total / count), rel=1e-4)
    assert table["loss"][0] == pytest.approx(np.mean([loss for loss, _ in found]), rel=1e-4)
    assert table["loss"][1:].sub(table["loss"][0]).abs().min() > 1e-4
    manifest = (tmp_path / "manifest.json").read_text()
    assert f"15 % of the tokens hidden, seed {5 if 'seed' in query else 0}" in manifest


def test_subsets_keep_their_targets(masked: Path, text: Path) -> None:
    data = ra.dataset(f"text:{text}?by=line&labels=masked", tokenizer=masked)
    other = ra.dataset(f"text:{text}?by=line&labels=masked&seed=1", tokenizer=masked)
    assert data.sha256 != other.sha256
    whole, targets = data.batch(0, len(data))
    assert isinstance(whole, dict)
    assert targets is not None
    for part in (data.limited(3, seed=1), *two_parts(data, 2, 0)):
        inputs, found = part.batch(0, len(part))
        assert isinstance(inputs, dict)
        assert found is not None
        assert torch.equal(found, targets[part.indices])
        assert torch.equal(inputs["attention_mask"], whole["attention_mask"][part.indices])


def test_what_cannot_be_hidden(tmp_path: Path, masked: Path, text: Path, words: Path) -> None:
    with pytest.raises(DataError, match="its tokenizer has no mask token, so nothing can be hidd"):
        ra.dataset(f"text:{text}?by=line&labels=masked", tokenizer=words)
    with pytest.raises(DataError, match="seed=3 decides what labels=masked hides; write that too"):
        ra.dataset(f"text:{text}?by=line&seed=3", tokenizer=masked)
    with pytest.raises(DataError, match="seed=-1 is no seed"):
        ra.dataset(f"text:{text}?by=line&labels=masked&seed=-1", tokenizer=masked)
    (tmp_path / "strange.txt").write_text("xyzzy\nplugh\n")
    with pytest.raises(DataError, match="none of its 2 examples has an ordinary token to hide"):
        ra.dataset(f"text:{tmp_path / 'strange.txt'}?by=line&labels=masked", tokenizer=masked)
    (tmp_path / "some.txt").write_text("xyzzy\nthe cat\n")
    data = ra.dataset(f"text:{tmp_path / 'some.txt'}?by=line&labels=masked", tokenizer=masked)
    assert data.subset.endswith("seed 0, 1 without a token to hide left out")


def test_what_a_model_predicts_decides_where_the_data_does_not_say(
    tmp_path: Path, masked: Path, text: Path
) -> None:
    for architecture, predicted in (
        ("BertForMaskedLM", "masked"),
        ("GPT2LMHeadModel", "next"),
        ("LlamaForCausalLM", "next"),
        ("BertModel", "none"),
        ("BertForSequenceClassification", "none"),
        ("Strange", None),
    ):
        assert _predicts(architecture) == predicted
    np.savez(tmp_path / "t.npz", input_ids=np.ones((2, 4), int))
    for predicted in ("masked", "none"):
        info = ModelInfo("m", tokenizer=str(masked), predicts=predicted)
        _, labels = data_for(info, f"text:{text}?by=line").batch(0, 1)
        assert (labels is None) == (predicted == "none")
        assert data_for(info, f"tokens:{tmp_path / 't.npz'}").batch(0, 1)[1] is None
        _, labels = data_for(info, f"text:{text}?by=line&labels=next").batch(0, 1)
        assert labels is not None
        assert (labels != NO_TARGET).sum() > 10


def test_an_encoder_without_a_head(encoder: Path, text: Path, tmp_path: Path) -> None:
    words = ["lesion", f"hf:{encoder}", "--data", f"text:{text}?by=line", "--group", "layer"]
    result = CliRunner().invoke(app, [*words, "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "Say which one to analyse with" in result.output
    for name in ("last_hidden_state", "pooler_output"):
        assert name in result.output
    words += ["--output", "last_hidden_state", "--metric", "tests.datasets.test_masked:angle"]
    result = CliRunner().invoke(app, [*words, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "lesion.csv")
    assert table["metric"][0] == pytest.approx(0, abs=1e-3)
    assert (table["metric"][1:] > 0.01).all()
    assert table["error"].isna().all()


def angle(output: torch.Tensor, labels: None, intact: torch.Tensor) -> torch.Tensor:
    """Between the embeddings of the first token, in radians."""
    assert labels is None
    cosine = torch.cosine_similarity(output[:, 0].double(), intact[:, 0].double(), dim=-1)
    return cosine.clamp(-1, 1).acos()
