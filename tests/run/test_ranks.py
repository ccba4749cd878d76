"""One command in two processes: the single process's table to the byte, also when one of them is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from resanalysis.checkpoint import save_checkpoint
from resanalysis.models.architecture import Architecture
from tests.conftest import ROOT, cifar, settle

# Scores as resanalysis does, and kills the second process at its second batch, once.
METRIC = """
import os, signal
from pathlib import Path

calls = 0

def right(logits, labels, inputs):
    global calls
    calls += 1
    count = os.environ.get("TORCHELASTIC_RESTART_COUNT", "alone")
    with Path(__file__).with_name(f"calls-{count}").open("a") as log:
        log.write("x")
    once = Path(__file__).with_name("killed")
    if os.environ.get("RANK") == "1" and calls > 6 and not once.exists():
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return (logits.argmax(1) == labels).float()
"""


def run(folder: Path, *launcher: str, out: str) -> str:
    words = [
        "resanalysis",
        "lesion",
        "model.pt",
        "--data",
        "data.npz",
        "--batch-size",
        "4",
        "--normalize",
        "none",
    ]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, *words, "--metric", "mine:right", "--out", out],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.nightly  # nearly all of its time is imports; test_forked_ranks has the same without
@pytest.mark.slow
def test_two_processes_make_the_table_of_one_and_a_kill_loses_nothing(tmp_path: Path) -> None:
    model = cifar(8, channels=1)
    settle(model)
    save_checkpoint(
        tmp_path / "model.pt",
        model,
        architecture=Architecture(
            "cifar_resnet", {"depth": 8, "channels": 1, "width": 4, "classes": 5}
        ),
    )
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 16, 16, 1), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", images=images, labels=rng.integers(0, 5, 30))
    (tmp_path / "mine.py").write_text(METRIC)
    alone = run(tmp_path, out="one")
    restarting = ("--standalone", "--nproc-per-node", "2", "--max-restarts", "1")
    both = run(tmp_path, "torch.distributed.run", *restarting, "-m", out="two")
    assert (tmp_path / "killed").exists()
    before, again, whole = (
        len((tmp_path / f"calls-{count}").read_text()) for count in ("0", "1", "alone")
    )
    assert 0 < again < whole <= before + again
    for name in ("lesion.csv", "lesion.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert both.replace("two/", "one/").split() == alone.split()  # one of them speaks
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == sorted(
        path.name for path in (tmp_path / "one").iterdir()
    )
