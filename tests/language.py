"""Tiny random language models and a tokenizer trained on a few lines, saved as folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

LINES = (
    "the cat sat on the mat and looked at the dog",
    "a dog ran after the cat across the yard",
    "",
    "no",
    "the mat was red",
    "when the rain came the dog and the cat sat on the mat in the house and waited for the sun",
    "the sun came",
)
TEXT = "\n".join(LINES) + "\n"


def tokenizer(**options: Any) -> Any:
    """Words of ``LINES``; ``<unk>`` for every other."""
    transformers = pytest.importorskip("transformers", reason="the extra is not installed")
    tokenizers = pytest.importorskip("tokenizers", reason="the extra is not installed")
    words = sorted(set(TEXT.split()))
    ids = {word: number for number, word in enumerate(["<eos>", "<unk>", *words])}
    rule = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="<unk>"))
    rule.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=rule, eos_token="<eos>", unk_token="<unk>", **options
    )


def byte_level_tokenizer() -> Any:
    """Byte-level BPE, as GPT-2's: no unknown character, white space is part of the tokens."""
    transformers = pytest.importorskip("transformers", reason="the extra is not installed")
    tokenizers = pytest.importorskip("tokenizers", reason="the extra is not installed")
    rule = tokenizers.Tokenizer(tokenizers.models.BPE())
    level = tokenizers.pre_tokenizers.ByteLevel
    rule.pre_tokenizer = level(add_prefix_space=False)
    rule.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<eos>"], initial_alphabet=level.alphabet(), show_progress=False
    )  # fmt: skip
    rule.train_from_iterator([TEXT], trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=rule, eos_token="<eos>")


def gpt2(vocabulary: int, positions: int = 32) -> Any:
    transformers = pytest.importorskip("transformers", reason="the extra is not installed")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=vocabulary, n_embd=16, n_layer=3, n_head=2, n_positions=positions, use_cache=False,
        bos_token_id=0, eos_token_id=0, initializer_range=0.3,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config).eval()


def bert_tokenizer() -> Any:
    """Words of ``LINES`` between ``[CLS]`` and ``[SEP]``, with a mask, as BERT's."""
    transformers = pytest.importorskip("transformers", reason="the extra is not installed")
    tokenizers = pytest.importorskip("tokenizers", reason="the extra is not installed")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    ids = {word: number for number, word in enumerate([*special, *sorted(set(TEXT.split()))])}
    rule = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="[UNK]"))
    rule.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    rule.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=rule, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]",
    )  # fmt: skip


def bert(vocabulary: int, kind: str = "BertForMaskedLM") -> Any:
    """A BERT of two layers, with or without a head."""
    transformers = pytest.importorskip("transformers", reason="the extra is not installed")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=vocabulary, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=32, initializer_range=0.3,
    )  # fmt: skip
    return getattr(transformers, kind)(config).eval()


def llama(vocabulary: int, positions: int = 32) -> Any:
    transformers = pytest.importorskip("transformers", reason="the extra is not installed")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=vocabulary, hidden_size=16, intermediate_size=24, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=positions, use_cache=False,
        bos_token_id=0, eos_token_id=0, pad_token_id=0, initializer_range=0.3,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


def saved(folder: Path, model: Any, cutter: Any) -> Path:
    """A folder as ``save_pretrained`` leaves it, of a model and its tokenizer."""
    model.save_pretrained(folder)
    if cutter is not None:
        cutter.save_pretrained(folder)
    return folder
