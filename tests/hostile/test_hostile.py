"""Whatever a file holds: it is read as it is, or refused in one line, and nothing of it runs.

The ordinary suite takes a sample; ``make test-hostile`` takes 1,000 checkpoints, 200 files of Keras
and 500 data sets. A failure names its seed, from which the same file is made again.
"""

from __future__ import annotations

import os
import pickle
import resource
import shutil
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from resanalysis.checkpoint import CheckpointError, load
from resanalysis.datasets import DataError, dataset
from tests.hostile import checkpoints, data, keras_files
from tests.hostile.canary import PAYLOADS, Canary, Payload

CHECKPOINTS = int(os.environ.get("RESANALYSIS_HOSTILE_CHECKPOINTS", "60"))
KERAS = int(os.environ.get("RESANALYSIS_HOSTILE_KERAS", "6"))
DATA = int(os.environ.get("RESANALYSIS_HOSTILE_DATA", "40"))
LONGEST = 20  # seconds for one file, on a busy machine
MOST_MEMORY = 1500  # MiB that all files together may add to the process

pytestmark = [
    pytest.mark.timeout(1000),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Canary]:
    (tmp_path / "canary").mkdir()
    found = Canary(tmp_path / "canary", monkeypatch)
    yield found
    if found.sings():
        pytest.fail(f"CODE OF A FILE RAN: {found.sings()}")


@pytest.mark.parametrize("kind", PAYLOADS)
def test_the_canary_sings_where_code_runs(tmp_path: Path, canary: Canary, kind: str) -> None:
    path = tmp_path / "trusted.pt"
    path.write_bytes(pickle.dumps(Payload(canary, kind)))
    with pytest.raises(CheckpointError):
        load(path)
    assert not canary.sings()
    with pytest.raises(CheckpointError):
        load(path, trust_pickle=True)
    assert canary.sings()
    canary.hush()


def test_the_canary_sings_where_a_program_starts(tmp_path: Path, canary: Canary) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "x.eps")
    with pytest.raises(OSError, match=r".*"), Image.open(tmp_path / "x.eps") as image:
        image.load()
    assert "program-ran" in canary.sings()
    canary.hush()


def memory() -> float:
    """The most the process ever held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def answered(
    seed: int,
    canary: Canary,
    use: Callable[[], None],
    expected: type[Exception],
    longest: float = LONGEST,
) -> bool:
    """Whether a file could be used; if it was refused, in one line of ours, and soon."""
    started = time.perf_counter()
    try:
        use()
        used = True
    except expected as error:
        text, used = str(error), False
        assert text.isprintable(), f"seed {seed}: {text!r}"
        assert 20 < len(text) <= 2000, f"seed {seed}: {text!r}"
    except BaseException as error:
        raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
    seconds = time.perf_counter() - started
    assert seconds < longest, f"seed {seed}: {seconds:.0f} s"
    assert not canary.sings(), f"seed {seed}: CODE OF A FILE RAN: {canary.sings()}"
    return used


def test_honest_files_load(tmp_path: Path, canary: Canary) -> None:
    for path in checkpoints.honest(tmp_path):
        assert isinstance(load(path), nn.Module)


def test_hostile_checkpoints(tmp_path: Path, canary: Canary) -> None:
    before, counts = memory(), Counter[str]()
    checkpoints.honest(tmp_path)
    for seed in range(CHECKPOINTS):
        kind, path = checkpoints.made(seed, canary, tmp_path)

        def use(path: Path = path) -> None:
            model = load(path)
            assert all(
                value.isfinite().all()
                for value in model.state_dict().values()
                if value.is_floating_point()
            )

        used = answered(seed, canary, use, CheckpointError)
        counts[f"{kind}: {'loaded' if used else 'refused'}"] += 1
        assert not (used and kind == "code" and path.suffix != ".safetensors"), f"seed {seed}"
        assert not (used and says_it_is_damaged(path)), f"seed {seed}: damaged, and loaded"
        path.unlink()
    assert memory() - before < MOST_MEMORY
    told(f"{CHECKPOINTS} checkpoints", counts)


def test_hostile_files_of_keras(
    tmp_path: Path, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is looked at in a process of its own, whose processor time is what is limited."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")  # read where keras is first imported
    pytest.importorskip("keras", reason="the extra is not installed")
    counts = Counter[str]()
    for suffix in keras_files.SUFFIXES:
        (tmp_path / f"honest.{suffix}").write_bytes(keras_files.whole(suffix))
        assert isinstance(load(tmp_path / f"honest.{suffix}"), nn.Module)
    before = memory()
    for seed in range(KERAS):
        kind, path = keras_files.made(seed, canary, tmp_path)

        def use(path: Path = path) -> None:
            assert all(value.isfinite().all() for value in load(path).state_dict().values())

        used = answered(seed, canary, use, CheckpointError, longest=300)
        counts[f"{kind}: {'loaded' if used else 'refused'}"] += 1
        assert not (used and kind in ("code", "other_files")), f"seed {seed}"
        assert not (used and says_it_is_damaged(path)), f"seed {seed}: damaged, and loaded"
        path.unlink()
    assert memory() - before < MOST_MEMORY
    told(f"{KERAS} files of Keras", counts)


def says_it_is_damaged(path: Path) -> bool:
    """Whether a zip archive has an entry whose checksum is not that of its content."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is not None
    except Exception:
        return False


def test_hostile_data(tmp_path: Path, canary: Canary) -> None:
    before, counts = memory(), Counter[str]()
    for seed in range(DATA):
        kind, name = data.made(seed, canary, tmp_path)

        def use(name: str = name) -> None:
            tokens, files = name.startswith("tokens:"), name.startswith(("folder:", "masks:"))
            size = 16 if files else None  # which other data refuse before they are read
            found = dataset(name, normalize=None if tokens else "none", image_size=size)
            inputs, labels = found.batch(0, 3)
            assert len(found.sha256) == 64
            assert tokens or (isinstance(inputs, Tensor) and within_0_and_1(inputs))
            assert tokens or labels is None or (labels.dtype is torch.int64 and labels.min() >= -1)
            assert found.classes is None or all(name.isprintable() for name in found.classes)

        used = answered(seed, canary, use, DataError)
        counts[f"{kind}: {'used' if used else 'refused'}"] += 1
        shutil.rmtree(tmp_path / str(seed))
    assert memory() - before < MOST_MEMORY
    told(f"{DATA} data sets", counts)


def within_0_and_1(inputs: Tensor) -> bool:
    return bool(np.isfinite(inputs.numpy()).all() and inputs.min() >= 0 and inputs.max() <= 1)


def told(what: str, counts: Counter[str]) -> None:
    """The counts of a run, seen with ``-s`` and at the end of ``make test-hostile``."""
    lines = [f"  {count:5d}  {kind}" for kind, count in sorted(counts.items())]
    print(f"\n{what}, nothing ran, none without an answer", *lines, sep="\n")
    assert sum(counts.values()) == int(what.split()[0])
