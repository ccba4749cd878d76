"""The loop: it goes on bit for bit, learns, halves images, and says where it went wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resanalysis.errors import ResultsError
from resanalysis.models.cifar_resnet import CifarResNet
from resanalysis.models.names import architecture_named
from resanalysis.models.survival import survivals
from resanalysis.training import loop
from resanalysis.training.examples import Examples, halved
from resanalysis.training.examples import test_error as error_of
from resanalysis.training.loop import train
from resanalysis.training.recipe import Recipe
from resanalysis.training.state import TrainingState


def examples(count: int, seed: int = 0, size: int = 8) -> Examples:
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, 1, size, size), dtype=np.uint8)
    labels = (np.arange(count) % 2).astype(np.int64)
    images[labels == 1, :, : size // 2] //= 4  # Two classes that can be told apart.
    return Examples(images, labels, (0.4,), (0.3,))


def network(name: str = "resnet8", **options: Any) -> nn.Module:
    torch.manual_seed(0)
    named = architecture_named(name)
    shape = {"width": 4, "channels": 1, "classes": 2}
    return type(named)(named.name, {**named.options, **shape, **options}).make()


RECIPES = {
    "stochastic depth": ("stochastic-depth8", Recipe(epochs=3, batch_size=8, nesterov=True)),
    "two of three units": ("resnet8", Recipe(epochs=3, batch_size=8, train_units=2)),
    "dropout": ("resnet8-dropout-shortcut", Recipe(epochs=3, batch_size=8)),
    "bfloat16": ("resnet8v2", Recipe(epochs=3, batch_size=8, precision="bfloat16")),
    "half size": ("resnet8v2", Recipe(epochs=2.6, batch_size=8, half_size=0.5, crop_padding=1)),
}


@pytest.mark.parametrize("case", RECIPES)
def test_a_resumed_training_is_the_uninterrupted_one_bit_for_bit(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after any batch, within an epoch too; other chance was used in between."""
    name, recipe = RECIPES[case]
    data, test = examples(40), examples(16, 1)
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)

    def run(model: nn.Module, file: Path) -> TrainingState:
        return train(
            model,
            data,
            test,
            recipe=recipe,
            seed=3,
            state_file=file,
            with_gradient_norms=True,
            show_progress=False,
        )

    torch.manual_seed(7)
    whole = run(network(name), tmp_path / "whole.pt")
    step = loop._step
    for stop_after in (4, 11):
        file = tmp_path / f"stopped{stop_after}.pt"

        def stopping(state: TrainingState, *arguments: Any, after: int = stop_after) -> None:
            if state.step == after:
                raise KeyboardInterrupt
            step(state, *arguments)

        torch.manual_seed(7)
        monkeypatch.setattr(loop, "_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            run(network(name), file)
        monkeypatch.setattr(loop, "_step", step)
        torch.manual_seed(8)
        resumed = run(network(name), file)
        assert whole.step == resumed.step == recipe.steps(5)
        for key, value in whole.model.state_dict().items():
            assert torch.equal(value, resumed.model.state_dict()[key]), (stop_after, key)
        for mine, other in zip(whole.history, resumed.history, strict=True):
            assert {**mine, "seconds": 0} == {**other, "seconds": 0}
        assert whole.gradient_norms == resumed.gradient_norms
        assert all(end.kept for end in survivals(resumed.model))


def test_a_step_is_the_formula_written_out() -> None:
    """One batch of all images, no crops or flips: w ← w − rate · (∇loss + decay · w)."""
    data = examples(8)
    model = network()
    reference = network()
    recipe = Recipe(
        iterations=1, batch_size=8, learning_rate=0.1, weight_decay=0.01, crop_padding=0, flip=False
    )
    train(model, data, data, recipe=recipe, show_progress=False)
    reference.train()
    images, labels = data.batch(slice(None))
    F.cross_entropy(reference(images), labels).backward()
    for mine, other in zip(model.parameters(), reference.parameters(), strict=True):
        assert other.grad is not None
        expected = other.detach() - 0.1 * (other.grad + 0.01 * other.detach())
        torch.testing.assert_close(mine.detach(), expected, rtol=1e-4, atol=1e-6)


def test_in_every_batch_exactly_so_many_branches_run() -> None:
    """Counted by the branches themselves, as training calls them: 4 of 6, and not always the same."""
    model = network("resnet14")
    batches: list[list[int]] = []

    def begin(module: nn.Module, inputs: Any) -> None:
        if module.training:
            batches.append([])

    model.get_submodule("conv1").register_forward_pre_hook(begin)
    for number, end in enumerate(survivals(model)):

        def ran(module: nn.Module, inputs: Any, output: Any, number: int = number) -> None:
            if module.training:
                batches[-1].append(number)

        end.register_forward_hook(ran)
    recipe = Recipe(epochs=3, batch_size=8, train_units=4)
    train(model, examples(40), examples(8), recipe=recipe, show_progress=False)
    assert [len(units) for units in batches] == [4] * 15
    assert len({tuple(units) for units in batches}) > 5


def test_it_learns_and_says_how_well() -> None:
    data, test = examples(64), examples(40, 1)
    recipe = Recipe(epochs=6, batch_size=16, learning_rate=0.05, crop_padding=0)
    model = network()
    state = train(model, data, test, recipe=recipe, show_progress=False)
    assert [row["epoch"] for row in state.history] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in state.history] == [4, 8, 12, 16, 20, 24]
    assert state.history[-1]["train_error"] < 0.1 < state.history[0]["train_error"]
    assert state.history[-1]["test_error"] == error_of(model, test)
    assert not model.training


def test_test_error_counts_images() -> None:
    data = examples(7)
    model = network().eval()
    images, labels = data.batch(slice(None))
    with torch.no_grad():
        wrong = int((model(images).argmax(1) != labels).sum())
    assert error_of(model, data, batch_size=3) == wrong / 7
    small = F.interpolate(images, scale_factor=0.5, mode="area")
    torch.testing.assert_close(halved(images), small)
    with torch.no_grad():
        wrong = int((model(small).argmax(1) != labels).sum())
    assert error_of(model, data, half=True) == wrong / 7


class Sizes(nn.Module):
    """Remembers the heights of the images it saw in training."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 2)
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen.append(x.shape[2])
        return self.linear(x.mean((2, 3)))


def test_images_are_halved_for_the_first_part_of_the_time() -> None:
    model = Sizes()
    recipe = Recipe(epochs=2, batch_size=8, half_size=0.5)
    train(model, examples(16), examples(8), recipe=recipe, show_progress=False)
    assert model.seen == [4, 4, 8, 8]


def test_a_loss_that_is_not_finite_ends_it() -> None:
    model = network()
    with torch.no_grad():
        model.get_parameter("linear.bias").fill_(float("nan"))
    with pytest.raises(
        FloatingPointError, match="the training loss is nan in epoch 1; try a lower"
    ):
        train(model, examples(8), examples(8), recipe=Recipe(epochs=1), show_progress=False)


def test_a_state_of_another_recipe_is_refused(tmp_path: Path) -> None:
    data = examples(8)
    file = tmp_path / "state.pt"
    train(network(), data, data, recipe=Recipe(epochs=1), state_file=file, show_progress=False)
    with pytest.raises(ValueError, match="is a run of another recipe or seed"):
        train(network(), data, data, recipe=Recipe(epochs=2), state_file=file, show_progress=False)
    content = torch.load(file, weights_only=True)
    del content["order"]
    torch.save(content, file)
    with pytest.raises(ValueError, match="written by another version: it has no order"):
        train(network(), data, data, recipe=Recipe(epochs=1), state_file=file, show_progress=False)


def test_a_state_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = examples(8)
    file = tmp_path / "state.pt"
    train(network(), data, data, recipe=Recipe(epochs=1), state_file=file, show_progress=False)
    before = file.read_bytes()

    def half_written(content: Any, file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", half_written)
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    recipe = Recipe(epochs=1)
    state = TrainingState(
        network(),
        loop.optimiser_of(network(), recipe),
        torch.Generator(),
        torch.zeros(1),
        torch.zeros(()),
        torch.zeros(()),
    )
    with pytest.raises(ResultsError, match="no space left"):
        state.save(file, recipe, 0)
    assert file.read_bytes() == before


def test_a_strided_projection_of_few_channels_is_not_trained_channels_last() -> None:
    """It would write past the end of its memory (oneDNN issue 6035): crashes, or wrong gradients."""
    for shortcut, width, expected in (
        ("A", 4, torch.channels_last),
        ("B", 4, torch.contiguous_format),
        ("B", 16, torch.channels_last),
    ):
        model = network(shortcut=shortcut, width=width)
        assert loop.memory_format_of(model, "cpu") is expected
        assert loop.memory_format_of(model, "cuda:0") is torch.channels_last


def test_the_bar_says_epoch_and_errors() -> None:
    model = CifarResNet(8, width=4, channels=1, classes=2)
    recipe = Recipe(epochs=2, batch_size=8)
    state = train(model, examples(16), examples(8), recipe=recipe, show_progress=False)
    state.step, state.wrong_sum = 1, torch.tensor(0.25)
    state.history[-1]["test_error"] = 0.125
    assert loop._note(state, 2) == "epoch 1, training error 25.0%, test error 12.5%"
    state.step = 2
    assert loop._note(state, 2) == "epoch 1, test error 12.5%", "the epoch that has ended"
