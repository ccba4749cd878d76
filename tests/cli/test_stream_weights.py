"""A model that the memory cannot hold, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from resanalysis.cli import app
from resanalysis.routes import batches
from tests import language


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.stderr


@pytest.mark.slow
def test_it_is_read_a_unit_at_a_time_by_itself_and_gives_the_same_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = language.saved(tmp_path / "model", language.gpt2(20), None)
    np.savez(tmp_path / "t.npz", input_ids=np.random.default_rng(0).integers(0, 20, (5, 8)))
    words = ("lesion", f"hf:{folder}", "--data", f"tokens:{tmp_path / 't.npz'}", "--batch-size", 2)
    said = run(*words, "--out", tmp_path / "whole")
    assert "note" not in said
    assert "Loading weights" not in said, "transformers' own bar, which --quiet could not stop"

    def little(_: torch.device) -> int:
        return 20_000

    monkeypatch.setattr(batches, "free_memory", little)
    said = run(*words, "--out", tmp_path / "streamed")
    assert "GiB of memory are free: they are read from their files a unit at a time" in said
    one, other = (tmp_path / name for name in ("whole", "streamed"))
    assert (one / "lesion.csv").read_bytes() == (other / "lesion.csv").read_bytes()
    told = [json.loads((place / "manifest.json").read_text())["lesion"] for place in (one, other)]
    assert [entry["view"].get("weights") for entry in told] == [None, "in their files"]
    assert told[0]["model_sha256"] == told[1]["model_sha256"]
    result = CliRunner().invoke(
        app, [str(w) for w in ("cka", *words[1:4], "--out", tmp_path / "cka")]
    )
    assert result.exit_code == 1
    assert "cka needs all weights of hf:" in result.stderr


def test_the_option_is_for_what_reads_weights_so() -> None:
    result = CliRunner().invoke(app, ["cka", "hf:x", "--stream-weights"])
    assert result.exit_code == 2
    assert "No such option: --stream-weights" in result.stderr
    result = CliRunner().invoke(
        app, ["lesion", "bundled:resnet56-fashion-mnist", "--stream-weights"]
    )
    assert result.exit_code == 1
    assert "hf:DIR, and bundled:resnet56-fashion-mnist is none: leave it out" in result.stderr
