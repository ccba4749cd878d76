"""Two processes train one network: the slow reference's weights, and no step lost when one is killed.

``test_division`` runs this in a process of its own.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]
from typer.testing import CliRunner

from resanalysis.cli import app
from resanalysis.models.survival import survivals
from resanalysis.ranks import together
from resanalysis.training import loop
from resanalysis.training.examples import Examples
from resanalysis.training.examples import test_error as error_of
from resanalysis.training.recipe import RECIPES, Recipe
from resanalysis.training.state import TrainingState
from tests.run.test_forked_ranks import two_processes
from tests.training.test_loop import examples, network

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are soon made"),
    pytest.mark.filterwarnings("ignore:This process .*fork:DeprecationWarning"),
]
# Batches of seven: one process has four images, the other three. Each step leaves a unit out.
RECIPE = Recipe(
    epochs=2, batch_size=7, learning_rate=0.05, nesterov=True, train_units=2, crop_padding=2
)


@pytest.fixture
def store() -> TCPStore:
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def cropped(image: Tensor, top: int, left: int, flip: bool) -> Tensor:
    """One image (C, 8, 8), as it is cut and mirrored in training."""
    padded = torch.zeros(1, 12, 12)
    padded[:, 2:10, 2:10] = image
    window = padded[:, top : top + 8, left : left + 8]
    return window.flip(2) if flip else window


def by_hand(model: nn.Module, data: Examples) -> list[float]:
    """One process: each half's gradients with its own batch norm, averaged over all images of the batch.

    Returns the mean loss of each batch. The running statistics are those of the first half.
    """
    draw = torch.Generator().manual_seed(3)
    optimiser = torch.optim.SGD(model.parameters(), 0.05, 0.9, weight_decay=1e-4, nesterov=True)
    losses: list[float] = []
    for step in range(2 * (len(data) // 7)):
        if step % (len(data) // 7) == 0:
            order = torch.randperm(len(data), generator=draw)
        at = 7 * (step % (len(data) // 7))
        images, labels = data.batch(order[at : at + 7].numpy())
        top = torch.randint(0, 5, (7, 1), generator=draw)[:, 0].tolist()
        left = torch.randint(0, 5, (7, 1), generator=draw)[:, 0].tolist()
        flips = (torch.rand(7, generator=draw) < 0.5).tolist()
        images = torch.stack([cropped(*one) for one in zip(images, top, left, flips, strict=True)])
        runs = torch.randperm(3, generator=draw)[:2].tolist()
        for number, end in enumerate(survivals(model)):
            end.kept = number in runs
        optimiser.zero_grad()
        kept: dict[str, Tensor] = {}
        total = 0.0
        for half in ([0, 2, 4, 6], [1, 3, 5]):
            loss = F.cross_entropy(model.train()(images[half]), labels[half], reduction="sum") / 7
            loss.backward()  # adds to the gradients of the other half
            total += loss.item()
            kept = kept or {name: value.clone() for name, value in model.named_buffers()}
        for name, value in model.named_buffers():
            value.copy_(kept[name])
        optimiser.param_groups[0]["lr"] = RECIPE.rate(step, len(data) // 7)
        optimiser.step()
        losses.append(total)
    for end in survivals(model):
        end.kept = True
    return losses


def test_two_processes_take_the_steps_of_two_halves_averaged_by_hand(
    tmp_path: Path, store: TCPStore
) -> None:
    data, test = examples(30), examples(16, 1)

    def work(rank: int) -> None:
        with together():
            state = loop.train(
                model,
                data,
                test,
                recipe=RECIPE,
                seed=3,
                with_gradient_norms=True,
                show_progress=False,
            )
        kept = {"model": model.state_dict(), "history": state.history}
        torch.save({**kept, "norms": len(state.gradient_norms)}, tmp_path / f"{rank}.pt")

    model = network()
    assert two_processes(store, 0, work)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    losses = by_hand(model, data)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(found[0]["model"][name], value, rtol=1e-4, atol=1e-5)
        assert torch.equal(found[0]["model"][name], found[1]["model"][name]), name
    for history in (one["history"] for one in found):
        assert [row["train_loss"] for row in history] == pytest.approx(
            [sum(losses[:4]) / 4, sum(losses[4:]) / 4], rel=1e-4
        )
        assert history[-1]["test_error"] == error_of(model, test)
    assert found[0]["norms"] > 0 == found[1]["norms"]  # the first one measures them


def test_a_killed_process_loses_no_step(
    tmp_path: Path, store: TCPStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, where each process has a dropout of its own."""
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    step = loop._step

    def trained(file: str) -> None:
        with together():
            state = loop.train(
                network("resnet8-dropout-shortcut"),
                examples(40),
                examples(16, 1),
                recipe=Recipe(epochs=3, batch_size=8),
                seed=3,
                state_file=tmp_path / file,
                show_progress=False,
            )
        assert state.step == 15

    def killed(rank: int) -> None:
        def stopping(state: TrainingState, *arguments: Any) -> None:
            if rank == 1 and state.step == 7:
                os.kill(os.getpid(), signal.SIGKILL)
            step(state, *arguments)

        loop._step = stopping
        trained("killed.pt")

    assert two_processes(store, 0, lambda rank: trained("whole.pt"))
    assert not two_processes(store, 1, killed)
    assert 0 < torch.load(tmp_path / "killed.pt", weights_only=True)["step"] < 8
    assert two_processes(store, 2, lambda rank: trained("killed.pt"))
    one, two = (
        torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("whole", "killed")
    )
    for name, value in one["model"].items():
        assert torch.equal(value, two["model"][name]), name
    for mine, other in zip(one["history"], two["history"], strict=True):
        assert {**mine, "seconds": 0} == {**other, "seconds": 0}


def test_one_of_them_writes_and_speaks(
    tmp_path: Path, store: TCPStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(RECIPES, "tiny", Recipe(epochs=1, batch_size=8))
    for name, data in (("train", examples(40)), ("test", examples(16, 1))):
        np.savez(f"{name}.npz", images=data.images.transpose(0, 2, 3, 1), labels=data.labels)
    words = ["train", "--arch", "resnet8", "--width", "4", "--recipe", "tiny", "--out", "out"]

    def work(rank: int) -> None:
        result = CliRunner().invoke(app, [*words, "--data", "train.npz", "--test-data", "test.npz"])
        Path(f"said{rank}").write_text(result.stdout)
        assert result.exit_code == 0, result.stderr

    assert two_processes(store, 0, work)
    entry = json.loads(Path("out/manifest.json").read_text())["train"]
    assert entry["options"]["processes"] == 2
    assert torch.load("out/resnet8.pt", weights_only=True)["processes"] == 2
    assert len(pd.read_csv("out/history.csv")) == 1
    assert "training of resnet8" in Path("said0").read_text()
    assert Path("said1").read_text() == ""
