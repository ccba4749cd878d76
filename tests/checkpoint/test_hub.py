"""A model of the hub is fetched where that is asked for, and what cannot be is said in a line."""

from __future__ import annotations

import fnmatch
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from resanalysis.checkpoint import CheckpointError, hub, load, stored_bytes
from resanalysis.cli import app
from tests import language

huggingface_hub = pytest.importorskip("huggingface_hub", reason="the extra is not installed")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """A hub of one model, which gives what is asked for and no more, in a folder named after the commit."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder, self.cache = folder, cache
        self.asked: list[tuple[str, str | None]] = []

    def snapshot_download(
        self, name: str, *, revision: str | None, allow_patterns: Any, ignore_patterns: Any
    ) -> str:
        self.asked.append((name, revision))
        for path in sorted(self.folder.rglob("*.*")):
            at = path.relative_to(self.folder).as_posix()
            allowed, ignored = (
                any(fnmatch.fnmatch(at, pattern) for pattern in patterns)
                for patterns in (allow_patterns, ignore_patterns)
            )
            if allowed and not ignored:
                (self.cache / COMMIT).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, self.cache / COMMIT / at)
        return str(self.cache / COMMIT)


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    hub.fetched.cache_clear()
    yield
    hub.fetched.cache_clear()


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    folder = language.saved(tmp_path / "at the hub", language.gpt2(20), None)
    (folder / "modeling_mine.py").write_text("raise SystemExit('run')")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "config.json").write_text("{}")
    found = Hub(folder, tmp_path / "cache")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", found.snapshot_download)
    monkeypatch.chdir(tmp_path)
    return found


def test_weights_and_configuration_are_fetched_and_nothing_that_runs(fake: Hub) -> None:
    model = load("hf:owner/tiny@v1", download=True)
    assert fake.asked == [("owner/tiny", "v1")]
    names = {path.name for path in (fake.cache / COMMIT).iterdir()}
    assert names == {"config.json", "generation_config.json", "model.safetensors"}
    info: Any = model.resanalysis
    beside: Any = load(f"hf:{fake.folder}").resanalysis
    assert (info.name, info.revision) == ("hf:owner/tiny@v1", COMMIT)
    assert (info.sha256, None) == (beside.sha256, beside.revision)
    assert info.tokenizer == str(fake.cache / COMMIT)


@pytest.mark.nightly
def test_from_the_command_line_to_the_manifest_read_into_memory_or_left_in_the_files(
    fake: Hub, tmp_path: Path
) -> None:
    np.savez("t.npz", input_ids=np.random.default_rng(0).integers(0, 20, (4, 8)))
    words = ["lesion", "hf:owner/tiny", "--data", "tokens:t.npz", "--download", "--quiet"]
    for out, more in (("whole", []), ("streamed", ["--stream-weights"])):
        result = CliRunner().invoke(app, [*words, "--out", out, *more])
        assert result.exit_code == 0, result.output
    told = json.loads(Path("whole/manifest.json").read_text())["lesion"]
    assert told["view"]["model"] == "hf:owner/tiny"
    assert told["view"]["revision"] == COMMIT
    assert Path("whole/lesion.csv").read_bytes() == Path("streamed/lesion.csv").read_bytes()
    assert fake.asked == [("owner/tiny", None)]  # once: one commit for all that a process reads
    size = (fake.folder / "model.safetensors").stat().st_size
    assert stored_bytes("hf:owner/tiny", download=True) == size


def test_without_the_option_a_name_that_is_no_folder_says_how(fake: Hub) -> None:
    with pytest.raises(
        CheckpointError, match=r"there is no folder owner/tiny here; .* add --download"
    ):
        load("hf:owner/tiny")
    with pytest.raises(CheckpointError, match="is a folder here: leave out --download"):
        load(f"hf:{fake.folder}", download=True)
    with pytest.raises(CheckpointError, match=r"--download fetches hf:OWNER/NAME .* m\.pt is none"):
        load("m.pt", download=True)
    assert fake.asked == []


def test_a_model_of_pickles_alone_is_refused(fake: Hub) -> None:
    (fake.folder / "model.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"hf:owner/tiny has no weights in model\.safetensors"
    ):
        load("hf:owner/tiny", download=True)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("GatedRepoError", "is gated: accept its conditions on https://huggingface.co/owner/tiny"),
        ("RepositoryNotFoundError", "is not on the hub, or is private"),
        ("RevisionNotFoundError", "has no revision v9; leave @v9 out"),
        ("LocalEntryNotFoundError", "the hub is not reached from here"),
        ("OfflineModeIsEnabled", "cannot be fetched: OfflineModeIsEnabled: no"),
    ],
)
def test_what_goes_wrong_is_one_line(
    kind: str, said: str, fake: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = getattr(huggingface_hub.utils, kind)

    def fails(*_: Any, **__: Any) -> str:
        raise error.__new__(error, "no\nwhere")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    result = CliRunner().invoke(app, ["inspect", "hf:owner/tiny@v9", "--download", "--quiet"])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: hf:owner/tiny@v9 ")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_library_itself_offline_and_with_a_wrong_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is asked of the network: the name is checked first, and offline only the cache is."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="is not in the cache, and HF_HUB_OFFLINE forbids"):
        load("hf:owner/none", download=True)
    with pytest.raises(CheckpointError, match="is no name of the hub; write hf:OWNER/NAME"):
        load("hf:a/b/c/d", download=True)
