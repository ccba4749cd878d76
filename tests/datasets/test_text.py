"""Plain text as token ids, against the tokenizer called line by line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from torch import Tensor
from typer.testing import CliRunner

import resanalysis as ra
from resanalysis.checkpoint import ModelInfo
from resanalysis.cli import app
from resanalysis.datasets import DataError, Dataset, check_vocabulary
from resanalysis.run.model_data import data_for
from tests import language


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of 24 positions with its tokenizer."""
    cutter = language.tokenizer()
    return language.saved(
        tmp_path_factory.mktemp("gpt2"), language.gpt2(len(cutter), positions=24), cutter
    )


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cutter = language.byte_level_tokenizer()
    return language.saved(tmp_path_factory.mktemp("llama"), language.llama(len(cutter)), cutter)


def inputs_of(data: Dataset) -> tuple[dict[str, Any], Tensor]:
    inputs, labels = data.batch(0, len(data))
    assert isinstance(inputs, dict)
    assert labels is not None
    return inputs, labels


def test_blocks_are_the_text_in_order_without_its_remainder(text: Path, llama: Path) -> None:
    data = ra.dataset(f"text:{text}?length=8", tokenizer=llama)
    inputs, labels = inputs_of(data)
    assert set(inputs) == {"input_ids"}
    assert inputs["input_ids"].shape == (10, 8)
    assert labels.tolist() == inputs["input_ids"].tolist()
    cutter = language.byte_level_tokenizer()
    ids = cutter(language.TEXT)["input_ids"]
    assert inputs["input_ids"].flatten().tolist() == ids[:80]
    assert len(ids) == 82
    assert data.subset == "10 blocks of 8 tokens, the last 2 tokens left out"
    # Byte-level tokens lose nothing, line breaks included.
    assert cutter.decode(inputs["input_ids"].flatten()) + cutter.decode(ids[80:]) == language.TEXT


def test_lines_are_cut_padded_and_masked(text: Path, words: Path) -> None:
    data = ra.dataset(f"text:{text}?by=line&length=9", tokenizer=words)
    inputs, labels = inputs_of(data)
    cutter = language.tokenizer()
    expected = [cutter(line)["input_ids"][:9] for line in language.LINES]
    expected = [ids for ids in expected if len(ids) > 1]
    assert inputs["input_ids"].shape == (len(expected), 9) == (5, 9)
    for number, ids in enumerate(expected):
        gone = 9 - len(ids)
        assert inputs["input_ids"][number].tolist() == ids + [cutter.eos_token_id] * gone
        assert inputs["attention_mask"][number].tolist() == [1] * len(ids) + [0] * gone
        assert labels[number].tolist() == ids + [-100] * gone
    assert data.subset == "5 lines, 2 cut to 9 tokens, 1 of fewer than two tokens left out"


@pytest.mark.parametrize(
    ("options", "padding"), [({"pad_token": "<unk>"}, 1), ({}, 0), ({"eos_token": None}, 0)]
)
def test_what_lines_are_padded_with(
    tmp_path: Path, text: Path, options: dict[str, Any], padding: int
) -> None:
    cutter = language.tokenizer()
    for name, token in options.items():
        setattr(cutter, name, token)
    cutter.save_pretrained(tmp_path)
    inputs, _ = inputs_of(ra.dataset(f"text:{text}?by=line", tokenizer=tmp_path))
    assert set(inputs["input_ids"][inputs["attention_mask"] == 0].tolist()) == {padding}


def test_the_length_is_what_the_model_takes(tmp_path: Path, words: Path, gpt2: Path) -> None:
    long = tmp_path / "long.txt"
    long.write_text(language.TEXT * 10)

    def length(place: str, **options: Any) -> int:
        return inputs_of(ra.dataset(place, **options))[0]["input_ids"].shape[1]

    assert length(f"text:{long}", tokenizer=words) == 128
    assert length(f"text:{long}", tokenizer=gpt2) == 24
    assert length(f"text:{long}?tokenizer={gpt2}", tokenizer=words) == 24
    assert length(f"text:{long}", tokenizer=words, positions=40) == 40
    assert length(f"text:{long}?length=5", tokenizer=gpt2) == 5
    cutter = language.tokenizer(model_max_length=17)
    cutter.save_pretrained(tmp_path / "short")
    assert length(f"text:{long}", tokenizer=tmp_path / "short") == 17


def test_special_tokens_are_the_tokenizers_own(tmp_path: Path, text: Path) -> None:
    """Once at the beginning of a text, or in every line; a line that is cut keeps its last."""
    cutter = language.tokenizer()
    tokenizers = pytest.importorskip("tokenizers", reason="the extra is not installed")
    cutter.backend_tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<eos> $A <eos>", special_tokens=[("<eos>", 0)]
    )
    cutter.save_pretrained(tmp_path)
    blocks, _ = inputs_of(ra.dataset(f"text:{text}?length=4", tokenizer=tmp_path))
    assert blocks["input_ids"][0, 0] == 0
    assert not (blocks["input_ids"].flatten()[1:-4] == 0).any()
    lines, _ = inputs_of(ra.dataset(f"text:{text}?by=line&length=6", tokenizer=tmp_path))
    assert len(lines["input_ids"]) == 6  # also "no", which is three tokens now
    assert (lines["input_ids"][:, 0] == 0).all()
    assert lines["input_ids"][0, -1] == 0


def test_text_is_the_same_data_as_its_tokens(tmp_path: Path, text: Path, words: Path) -> None:
    data = ra.dataset(f"text:{text}?by=line", tokenizer=words)
    inputs, labels = inputs_of(data)
    saved = {name: value.numpy() for name, value in inputs.items()}
    np.savez(tmp_path / "t.npz", **saved)
    same = ra.dataset(f"tokens:{tmp_path / 't.npz'}")
    assert same.sha256 == data.sha256
    assert inputs_of(same)[1].tolist() == labels.tolist()
    saved["attention_mask"][0, -1] ^= 1
    np.savez(tmp_path / "t.npz", **saved)
    masked = ra.dataset(f"tokens:{tmp_path / 't.npz'}").sha256
    saved["attention_mask"][0, -1] ^= 1
    saved["input_ids"][0, 0] += 1
    np.savez(tmp_path / "t.npz", **saved)
    changed = ra.dataset(f"tokens:{tmp_path / 't.npz'}").sha256
    assert len({data.sha256, masked, changed}) == 3


def test_a_seeded_subset_says_what_it_is_of(text: Path, words: Path) -> None:
    whole = ra.dataset(f"text:{text}?by=line", tokenizer=words)
    part = ra.dataset(f"text:{text}?by=line", tokenizer=words, limit=3, seed=2)
    assert part.subset == (
        "random subset of 3 from 5 (5 lines, 1 of fewer than two tokens left out), seed 2"
    )
    inputs, labels = inputs_of(part)
    for name, values in inputs_of(whole)[0].items():
        assert inputs[name].tolist() == values[part.indices].tolist()
    assert labels.tolist() == inputs_of(whole)[1][part.indices].tolist()


def test_byte_order_marks_and_line_ends_of_other_systems(tmp_path: Path, words: Path) -> None:
    plain, marked = tmp_path / "plain.txt", tmp_path / "is it marked?.txt"
    plain.write_bytes(b"the cat\nthe dog ran\n")
    marked.write_bytes(b"\xef\xbb\xbfthe cat\r\nthe dog ran\r\n")
    for tail in ("?by=line", "?length=2"):
        one = ra.dataset(f"text:{plain}{tail}", tokenizer=words)
        assert ra.dataset(f"text:{marked}{tail}", tokenizer=words).sha256 == one.sha256
    assert len(ra.dataset(f"text:{marked}", tokenizer=words, positions=5)) == 1


def test_a_target_after_a_masked_position_does_not_count(tmp_path: Path) -> None:
    mask = np.array([[0, 0, 1, 1, 1], [1, 1, 0, 1, 1], [1, 1, 1, 1, 0]])
    np.savez(tmp_path / "t.npz", input_ids=np.arange(15).reshape(3, 5), attention_mask=mask)
    labels = inputs_of(ra.dataset(f"tokens:{tmp_path / 't.npz'}"))[1]
    assert labels.tolist() == [
        [-100, -100, -100, 3, 4], [5, 6, -100, -100, 9], [10, 11, 12, 13, -100],
    ]  # fmt: skip
    np.savez(
        tmp_path / "t.npz", input_ids=np.ones((2, 3), int), attention_mask=[[1, 1, 1], [1, 0, 1]]
    )
    with pytest.raises(
        DataError,
        match=r"1 of 2 sequences have no two tokens side by side, first 1, so nothing to predict; leave",
    ):
        ra.dataset(f"tokens:{tmp_path / 't.npz'}")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?lenght=3", r"'lenght=3' is no option; there are length=N, by=line \(or by=block\), "
         r"labels=none or labels=masked with seed=N, and tokenizer=DIR, with & between them"),
        ("?length", r"'length' is no option"),
        ("?", r"'' is no option"),
        ("?length=", r"'length=' is no option"),
        ("?by=line,length=3", r"by=line,length=3 is not known; write by=block or by=line"),
        ("?length=4&length=5", r"length is given twice; give it once"),
        ("?length=1", r"length=1 is no number of tokens; it takes 2 or more"),
        ("?length=x", r"length=x is no number of tokens"),
        ("?length=25", r"length=25, and the model takes no more than 24 tokens; write \?length=24 or less"),
        ("?tokenizer=nowhere", r"there is no folder nowhere to read a tokenizer from"),
        (".gone", r"there is no file .*\.gone"),
    ],
)  # fmt: skip
def test_what_can_be_wrong_with_options(text: Path, gpt2: Path, query: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"^text:.*: {message}"):
        ra.dataset(f"text:{text}{query}", tokenizer=gpt2)


@pytest.mark.parametrize(
    ("content", "query", "message"),
    [
        (b"", "", r" is empty: there is no text in "),
        (b" \n\n", "", r" is empty: there is no text in "),
        (b"the caf\xe9", "", r" is not UTF-8: byte 7 is 0xe9; save the text as UTF-8"),
        (b"the cat sat", "?length=4", r": 3 tokens, fewer than one block of 4; write \?length=3 or less, or "
         r"give it a longer text"),
        (b"cat", "", r": 1 token, fewer than one block of 128; give it a longer text"),
        (b"cat\ndog\n", "?by=line", r": none of its 2 lines has two tokens, so there is nothing to predict; "
         r"leave out \?by=line, or give it longer lines"),
    ],
)  # fmt: skip
def test_what_can_be_wrong_with_a_text(
    tmp_path: Path, words: Path, content: bytes, query: str, message: str
) -> None:
    (tmp_path / "t.txt").write_bytes(content)
    with pytest.raises(DataError, match=rf"^text:.*t\.txt{message}"):
        ra.dataset(f"text:{tmp_path / 't.txt'}{query}", tokenizer=words)


def test_what_can_be_wrong_with_a_tokenizer(
    tmp_path: Path, text: Path, words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        DataError,
        match=r"nothing says how to cut it into tokens; name the folder .*\?tokenizer=DIR",
    ):
        ra.dataset(f"text:{text}")
    with pytest.raises(DataError, match=r"a tokenizer is for plain text; name the data text:FILE"):
        ra.dataset("bundled:fashion-mnist-test", tokenizer=words)
    with pytest.raises(DataError, match=r"is a folder; name one file of text"):
        ra.dataset(f"text:{tmp_path}", tokenizer=words)
    bare = language.saved(tmp_path / "bare", language.gpt2(20), None)
    with pytest.raises(
        DataError,
        match=r"bare holds no tokenizer: neither tokenizer.json nor another vocabulary; write it there with "
        r"tokenizer.save_pretrained, or name another folder with \?tokenizer=DIR",
    ):
        ra.dataset(f"text:{text}", tokenizer=bare)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "tokenizer.json").write_text("{")
    with pytest.raises(DataError, match=r"broken holds no tokenizer that can be read \(\w+: "):
        ra.dataset(f"text:{text}", tokenizer=tmp_path / "broken")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        DataError,
        match=r'reads tokenizers, is not installed .*pip install "resanalysis\[transformers\]"',
    ):
        ra.dataset(f"text:{text}", tokenizer=words)


def test_code_that_a_tokenizers_folder_brings_is_not_run(tmp_path: Path, text: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": ["code.Mine", null]}}'
    )
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(DataError, match=r"holds no tokenizer"):
        ra.dataset(f"text:{text}", tokenizer=tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_model_brings_its_tokenizer(
    tmp_path: Path, text: Path, words: Path, gpt2: Path, llama: Path
) -> None:
    info = ra.load(f"hf:{gpt2}").resanalysis
    assert isinstance(info, ModelInfo)
    assert info.tokenizer == str(gpt2)
    assert (info.positions, info.vocabulary) == (24, len(language.tokenizer()))
    data = data_for(info, f"text:{text}")
    assert inputs_of(data)[0]["input_ids"].shape == (2, 24)
    with pytest.raises(
        DataError,
        match=rf"token ids run up to \d+, and hf:.* knows {info.vocabulary}, 0 to "
        rf"{info.vocabulary - 1}; use the model's own tokenizer",
    ):
        data_for(info, f"text:{text}?tokenizer={llama}")
    other = ModelInfo("m.pt")
    assert len(data_for(other, f"text:{text}?tokenizer={words}&length=24")) == 2
    with pytest.raises(DataError, match="nothing says how to cut it into tokens"):
        data_for(other, f"text:{text}")
    np.savez(tmp_path / "t.npz", input_ids=np.full((2, 3), 999))
    with pytest.raises(DataError, match=r"t.npz: its token ids run up to 999, and hf:"):
        data_for(info, f"tokens:{tmp_path / 't.npz'}")
    images = ra.image_dataset(np.full((1, 4, 4), 200, np.uint8), None, mean=[0.0], std=[1.0])
    check_vocabulary(images, 10, "m")


@pytest.mark.parametrize(
    ("family", "query"),
    [("gpt2", "?by=line"), pytest.param("llama", "?length=8", marks=pytest.mark.nightly)],
)
def test_lesion_of_a_saved_model_on_a_text(
    family: str, query: str, text: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(family)
    words = ["lesion", f"hf:{folder}", "--data", f"text:{text}{query}", "--group", "layer"]
    result = CliRunner().invoke(app, [*words, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "lesion.csv")
    assert table["unit"].tolist() == [-1, 0, 1, 2]
    assert list(table.columns)[-3:] == ["perplexity", "perplexity_low", "perplexity_high"]
    values = table[["perplexity_low", "perplexity", "perplexity_high"]].to_numpy()
    assert (np.diff(values, axis=1) >= 0).all()
    assert "intact perplexity" in result.output
    assert ("left out)" if family == "llama" else "tokens") in result.output


@pytest.mark.parametrize("query", ["?length=8&labels=none", "?by=line&labels=none"])
def test_text_without_labels(text: Path, words: Path, query: str) -> None:
    data = ra.dataset(f"text:{text}{query}", tokenizer=words)
    labelled = ra.dataset(f"text:{text}{query.partition('&')[0]}", tokenizer=words)
    inputs, labels = data.batch(0, 2)
    assert isinstance(inputs, dict)
    assert labels is None
    assert data.sha256 != labelled.sha256
    if "line" in query:  # a line of one token has nothing to predict, and something to encode
        assert len(data) > len(labelled)
    with pytest.raises(DataError, match=r"labels=0 is not known; write labels=next or l"):
        ra.dataset(f"text:{text}?labels=0", tokenizer=words)
