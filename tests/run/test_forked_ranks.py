"""As in test_ranks, by processes forked from this one, which has imported all they need.

They share a store that outlives them, as under the launcher, and are told of each other as it tells them.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]
from typer.testing import CliRunner

from resanalysis.checkpoint import save_checkpoint
from resanalysis.cli import app
from resanalysis.models.architecture import Architecture
from resanalysis.ranks import ranks
from tests.conftest import cifar, settle
from tests.hostile.test_stopped import forked
from tests.run.test_ranks import METRIC

WORDS = ("lesion", "model.pt", "--data", "data.npz", "--batch-size", "4", "--normalize", "none")


def run(out: str, said: Path) -> int:
    result = CliRunner().invoke(app, [*WORDS, "--metric", "mine:right", "--out", out])
    said.write_text(result.stdout)
    return result.exit_code


def two_processes(store: TCPStore, attempt: int, work: Callable[[int], None]) -> bool:
    """Whether both end well; where one does not, the other is ended, as it would wait for it.

    Parameters
    ----------
    work : what each does; it is given its rank.
    """
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port),
              "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": str(attempt)}  # fmt: skip

    def ranked(rank: int) -> None:
        os.environ |= shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        ranks.cache_clear()  # this process was one alone
        work(rank)

    children = {forked(lambda rank=rank: ranked(rank)) for rank in range(2)}
    well = True
    while children:
        child, status = os.wait()
        children.discard(child)
        if status and well:
            well = False
            for other in children:
                os.kill(other, signal.SIGKILL)
    return well


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are soon made")
@pytest.mark.filterwarnings("ignore:This process .*fork:DeprecationWarning")
def test_two_processes_make_the_table_of_one_and_a_kill_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    how = {"depth": 8, "channels": 1, "width": 4, "classes": 5}
    model = settle(cifar(8, channels=1))
    save_checkpoint(Path("model.pt"), model, architecture=Architecture("cifar_resnet", how))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 16, 16, 1), dtype=np.uint8)
    np.savez("data.npz", images=images, labels=rng.integers(0, 5, 30))
    Path("mine.py").write_text(METRIC)
    assert run("one", Path("alone")) == 0
    del sys.modules["mine"]  # which counts its calls

    def work(rank: int) -> None:
        assert run("two", Path(f"said{rank}")) == 0

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    assert not two_processes(store, 0, work)
    assert Path("killed").exists()
    assert not Path("two/lesion.csv").exists()
    assert list(Path("two/.partial").rglob("*.npz"))
    assert two_processes(store, 1, work)
    for name in ("lesion.csv", "lesion.png"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()
    both = "".join(Path(f"said{rank}").read_text() for rank in range(2))
    assert both.replace("two/", "one/").split() == Path("alone").read_text().split()
    assert sorted(os.listdir("two")) == sorted(os.listdir("one"))
