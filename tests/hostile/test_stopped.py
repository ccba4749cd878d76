"""Killed at any write or any moment, out of space, two at once, out of memory: nothing is lost or mixed.

The ordinary suite takes a few kills; ``make test-hostile`` takes 50.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from resanalysis.checkpoint import CheckpointError, load
from resanalysis.cli.command import message
from resanalysis.datasets import image_dataset
from resanalysis.errors import ResultsError
from resanalysis.experiments import experiment_named
from resanalysis.run.folder import Run
from resanalysis.run.manifest import damaged, read_manifest
from resanalysis.run.measured import Analysis, measured
from resanalysis.run.subject import Subject
from resanalysis.view import unravel
from tests.conftest import cifar

KILLS = int(os.environ.get("RESANALYSIS_HOSTILE_KILLS", "3"))
FILES = ("paths.csv", "paths.pdf", "paths.png", "lesion.csv", "lesion.pdf", "lesion.png")

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="a kill needs a process that is soon made"),
    # The child runs this package's code and ends; it never starts a thread.
    pytest.mark.filterwarnings("ignore:This process .*fork:DeprecationWarning"),
    pytest.mark.timeout(max(1000, 60 * KILLS)),  # on a machine with other work to do
]


@pytest.fixture(scope="module")
def subject() -> Subject:
    images = np.random.default_rng(0).integers(0, 256, (9, 3, 8, 8), dtype=np.uint8)
    data = image_dataset(images, np.arange(9) % 5, mean=[0.5] * 3, std=[0.5] * 3)
    example = data.batch(0, 4)[0]
    network = unravel(cifar(8), example)
    return Subject(network, cifar(8), data, example, "model", model_sha256="1", data_sha256="2")


def lesion(subject: Subject, out: Path, seed: int = 0) -> None:
    """One command's work, in three blocks that are kept."""
    with Run(out, "lesion") as run:
        analysis = Analysis(run, subject, {}, seed)
        measured(analysis, experiment_named("lesion"), batch_size=3)


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("lesion.*")}


@pytest.fixture(scope="module")
def whole(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """What uninterrupted runs write, by seed."""
    folders = {seed: tmp_path_factory.mktemp("whole") / str(seed) for seed in (0, 1)}
    for seed, out in folders.items():
        lesion(subject, out, seed)
    assert contents(folders[0]) != contents(folders[1])
    return folders


class Writes:
    """Counts what a run does to the disk, and does something else at one of them."""

    def __init__(self, at: int, act: Callable[[], None]) -> None:
        self.count, self.at, self.act = 0, at, act
        self.fsync, self.replace = os.fsync, os.replace

    def _next(self) -> None:
        self.count += 1
        if self.count == self.at:
            self.act()

    def install(self, patch: Callable[[str, object], None]) -> None:
        def fsync(handle: int) -> None:
            self._next()
            self.fsync(handle)

        def replace(old: str, new: str) -> None:
            self._next()
            self.replace(old, new)

        patch("fsync", fsync)
        patch("replace", replace)


def forked(work: Callable[[], None]) -> int:
    """The id of a process that does some work and ends."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def killed_by_itself(subject: Subject, out: Path, at: int) -> bool:
    def work() -> None:
        writes = Writes(at, lambda: os.kill(os.getpid(), signal.SIGKILL))
        writes.install(lambda name, function: setattr(os, name, function))
        lesion(subject, out)

    return os.WIFSIGNALED(os.waitpid(forked(work), 0)[1])


def killed_after(subject: Subject, out: Path, seconds: float) -> bool:
    child = forked(lambda: lesion(subject, out))
    time.sleep(seconds)
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def told_of(out: Path, whole: dict[int, Path]) -> str:
    """Which run a folder holds by its manifest; a mixture must be one that ``check`` finds."""
    seed = read_manifest(out)["lesion"]["seed"]  # valid at every moment
    if contents(out) == contents(whole[seed]):
        assert damaged(out) == []
        return f"the {'new' if seed == 0 else 'old'} files"
    assert damaged(out), "a mixture of two runs, and nothing says so"
    return "a mixture that check finds"


def test_killed_runs_go_on_and_end_as_if_they_had_not_been(
    subject: Subject, whole: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Writes(-1, lambda: None)
    with monkeypatch.context() as patch:
        counted.install(lambda name, function: patch.setattr(os, name, function))
        started = time.perf_counter()
        lesion(subject, tmp_path / "counted")
        seconds = time.perf_counter() - started
    counts, random = Counter[str](), Random(0)
    for number in range(KILLS):
        out = tmp_path / str(number)
        shutil.copytree(whole[1], out)
        if number % 3 < 2:
            at = (
                1 + (number * 7 + 2) % counted.count
            )  # every write comes by, as 7 divides no count of ours
            assert killed_by_itself(subject, out, at)
            counts["killed at a write"] += 1
        else:
            there = killed_after(subject, out, random.uniform(0, seconds))
            counts["killed at some time" if there else "ended before the kill"] += 1
        counts[f"left: {told_of(out, whole)}"] += 1
        counts["blocks kept"] += len(list(out.rglob("*.npz")))
        lesion(subject, out)
        assert contents(out) == contents(whole[0])
        assert damaged(out) == []
        assert not list(out.rglob("*.tmp"))
        assert not (out / ".partial").exists()
    print(f"\n{KILLS} kills, every resumed run byte for byte the uninterrupted one")
    print(*(f"  {count:5d}  {kind}" for kind, count in sorted(counts.items())), sep="\n")
    assert counts["blocks kept"]


def test_a_disk_that_is_full_at_any_write(
    subject: Subject, whole: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    places = (2, 8) if KILLS < 50 else range(1, 15)
    refused = 0
    for at in places:
        out = tmp_path / str(at)
        shutil.copytree(whole[1], out)
        with monkeypatch.context() as patch:
            Writes(at, full).install(lambda name, function: patch.setattr(os, name, function))
            with pytest.raises(ResultsError, match="no space left on device; free some space"):
                lesion(subject, out)
        refused += 1
        told_of(out, whole)
        assert not list(out.rglob("*.tmp"))
        lesion(subject, out)
        assert contents(out) == contents(whole[0])
    print(f"\n{refused} full disks, one line each, nothing lost")


def test_a_limit_on_the_size_of_files_is_one_line(subject: Subject, tmp_path: Path) -> None:
    """What a quota of the system does: a write that fails in its middle."""

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        try:
            lesion(subject, tmp_path)
        except ResultsError as error:
            os.write(writing, str(error).encode())

    reading, writing = os.pipe()
    os.waitpid(forked(work), 0)
    os.close(writing)
    with os.fdopen(reading) as said:
        assert "file too large; what was there before is not changed" in said.read()
    assert not list(tmp_path.glob("lesion.*"))


def test_two_that_write_to_one_folder(
    subject: Subject, whole: dict[int, Path], tmp_path: Path
) -> None:
    ready, go = os.pipe(), os.pipe()

    def first() -> None:
        with Run(tmp_path, "lesion") as run:
            os.write(ready[1], b"1")
            os.read(go[0], 1)
            measured(Analysis(run, subject, {}, 0), experiment_named("lesion"), batch_size=3)

    child = forked(first)
    os.read(ready[0], 1)
    with pytest.raises(
        ResultsError, match=r"another run of lesion is writing to .* wait for it, or"
    ):
        lesion(subject, tmp_path, seed=1)
    os.write(go[1], b"1")
    with Run(tmp_path, "scaling") as run:  # another command's results may lie beside
        measured(Analysis(run, subject, {}, 0), experiment_named("scaling"), batch_size=9)
    assert os.waitpid(child, 0)[1] == 0
    for pipe in (*ready, *go):
        os.close(pipe)
    assert set(read_manifest(tmp_path)) == {"lesion", "scaling"}
    assert damaged(tmp_path) == []
    assert contents(tmp_path) == contents(whole[0])


def test_too_little_memory_is_one_line(subject: Subject, tmp_path: Path) -> None:
    state = {**cifar(8).state_dict(), "large": torch.zeros(2**25)}  # 128 MiB
    torch.save(state, tmp_path / "large.pt")

    def limited() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + 2**26
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        try:
            load(tmp_path / "large.pt")
        except CheckpointError as error:
            os.write(writing, f"{error}\n".encode())
        try:
            subject.network(torch.zeros(200_000, 3, 8, 8))
        except Exception as error:
            os.write(writing, message(error).encode())

    reading, writing = os.pipe()
    assert os.waitpid(forked(limited), 0)[1] == 0
    os.close(writing)
    with os.fdopen(reading) as said:
        lines = said.read().splitlines()
    assert "large.pt" in lines[0]
    assert "memory" in lines[0]
    assert lines[1] == "error: out of memory; try a smaller --batch-size, or --limit"
