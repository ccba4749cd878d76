"""Tensors as a file: whole, or what was there before and what the system said."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest
import torch

from resanalysis.errors import ResultsError
from resanalysis.models.saving import save_tensors


def test_a_file_is_what_torch_reads(tmp_path: Path) -> None:
    save_tensors({"a": torch.arange(3)}, tmp_path / "new" / "x.pt")
    assert torch.load(tmp_path / "new" / "x.pt", weights_only=True)["a"].tolist() == [0, 1, 2]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.pt"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the limit is a process's own")
@pytest.mark.filterwarnings("ignore:This process .*fork:DeprecationWarning")
@pytest.mark.parametrize("values", [900, 100_000], ids=["as it ends", "in its middle"])
def test_a_write_that_fails_says_what_the_system_said(tmp_path: Path, values: int) -> None:
    """A limit on the size of files fails where a full disk does; torch speaks of positions then."""
    path = tmp_path / "x.pt"
    path.write_bytes(b"old")
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
            save_tensors({"a": torch.zeros(values)}, path)
        except ResultsError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as said:
        assert "x.pt: file too large; what was there before is not changed" in said.read()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"x.pt": b"old"}


def test_another_mistake_stays_its_own(tmp_path: Path) -> None:
    with pytest.raises((AttributeError, TypeError), match="pickle"):
        save_tensors({"a": lambda: 0}, tmp_path / "x.pt")
    assert not list(tmp_path.iterdir())
