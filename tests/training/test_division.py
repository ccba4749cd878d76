"""How a training is divided among processes, and what they are told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from resanalysis.errors import ResanalysisError
from resanalysis.ranks import Ranks, with_others
from resanalysis.training import division
from resanalysis.training.recipe import Recipe
from tests.conftest import ROOT
from tests.training.test_loop import network


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are soon made")
def test_two_processes(tmp_path: Path) -> None:
    """In a process of its own: threads of autograd, which other tests have started, do not survive a fork."""
    file = "tests/training/forked_division.py"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            file,
            "--basetemp",
            tmp_path,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_fewer_images_than_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(division, "ranks", lambda: Ranks(0, 8, 0))
    with pytest.raises(ResanalysisError, match="a batch of 7 cannot be divided among 8 processes"):
        division.divided(network(), Recipe(batch_size=7), 30, "cpu")


def test_only_a_lost_connection_is_said_to_be_one() -> None:
    lost = "[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:2"
    with (
        pytest.raises(ResanalysisError, match="another process of this run has ended"),
        with_others(),
    ):
        raise RuntimeError(lost)
    with pytest.raises(RuntimeError, match="out of memory"), with_others():
        raise RuntimeError("out of memory")
