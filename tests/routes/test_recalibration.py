"""Statistics estimated anew against plain modules that are run on the same examples in training mode."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resanalysis import unravel
from resanalysis.network import ResidualNetwork
from resanalysis.routes.evaluator import Scores, evaluate
from resanalysis.routes.recalibration import opened
from resanalysis.routes.route import Parallel, Route, intact, reordered, without
from tests.conftest import Batches, cifar, settle
from tests.routes.test_evaluator import Memory


@pytest.fixture(scope="module")
def network() -> ResidualNetwork:
    return unravel(cifar(14), torch.zeros(2, 3, 16, 16))


@pytest.fixture
def calibration() -> Batches:
    return Batches(torch.randn(30, 3, 16, 16, generator=torch.Generator().manual_seed(7)), None)


def retrained(model: nn.Module, batches: Sequence[Tensor]) -> nn.Module:
    """Its batch norms with statistics of these batches, as PyTorch's training mode estimates them."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    model.train()
    with torch.no_grad():
        for batch in batches:
            model(batch)
    return model.eval()


class WithoutBranch(nn.Module):
    """A unit of a post-activation network that has no branch."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.shortcut = block.shortcut

    def forward(self, h: Tensor) -> Tensor:
        return torch.relu(self.shortcut(h))


def blocks_of(model: nn.Module) -> list[tuple[nn.Sequential, int]]:
    stages = [model.get_submodule(f"layer{stage}") for stage in (1, 2, 3)]
    return [(stage, index) for stage in stages for index in range(len(stage))]  # type: ignore[arg-type]


def removed(model: nn.Module, units: Sequence[int]) -> nn.Module:
    for unit in units:
        stage, index = blocks_of(model)[unit]
        stage[index] = WithoutBranch(stage[index])
    return model


def losses(model: nn.Module, data: Batches) -> np.ndarray:
    assert data.labels is not None
    with torch.no_grad():
        return F.cross_entropy(model(data.inputs), data.labels, reduction="none").numpy()


@pytest.mark.parametrize(("shortcut", "fast"), [("A", True), ("B", False)])
def test_lesions_equal_modules_in_training_mode(
    images: Tensor, batches: Batches, calibration: Batches, shortcut: str, fast: bool
) -> None:
    def make() -> nn.Module:
        return cifar(8, shortcut=shortcut)

    network = unravel(make(), images[:2])
    gone = [(), *((unit,) for unit in range(3)), (0, 2)]
    routes = [without(network, units) for units in gone]
    scores = evaluate(network, routes, batches, batch_size=4, fast=fast, calibration=calibration)
    for row, units in enumerate(gone):
        model = retrained(removed(make(), units), [calibration.inputs])
        np.testing.assert_allclose(
            scores.values["loss"][row], losses(model, batches), rtol=2e-4, atol=2e-5
        )
    # Otherwise the test could not fail.
    before = evaluate(network, routes, batches)
    assert np.abs(before.values["loss"] - scores.values["loss"]).max() > 0.1


def test_what_the_network_is_compared_with_is_estimated_anew_too(
    network: ResidualNetwork, batches: Batches, calibration: Batches
) -> None:
    scores = evaluate(network, [intact(network)], batches, calibration=calibration)
    assert (scores.values["agreement"] == 1).all()
    np.testing.assert_allclose(scores.values["kl"], 0, atol=1e-6)


def test_a_pre_activation_head_has_statistics_of_its_own(
    images: Tensor, batches: Batches, calibration: Batches
) -> None:
    def make() -> nn.Module:
        return cifar(8, version=2)

    network = unravel(make(), images[:2])
    routes = [intact(network), without(network, [2])]
    scores = evaluate(network, routes, batches, calibration=calibration)
    model = make()
    nn.init.zeros_(model.get_parameter("layer3.0.conv2.weight"))  # the branch adds nothing
    for row, reference in enumerate((make(), model)):
        np.testing.assert_allclose(
            scores.values["loss"][row],
            losses(retrained(reference, [calibration.inputs]), batches),
            rtol=2e-4,
            atol=2e-5,
        )


def test_an_order_is_estimated_place_by_place(
    network: ResidualNetwork, batches: Batches, calibration: Batches
) -> None:
    scores = evaluate(
        network, [reordered(network, (1, 0, 2, 3, 4, 5))], batches, calibration=calibration
    )
    model = cifar(14)
    stage = model.get_submodule("layer1")
    stage[0], stage[1] = stage[1], stage[0]  # type: ignore[index]
    np.testing.assert_allclose(
        scores.values["loss"][0],
        losses(retrained(model, [calibration.inputs]), batches),
        rtol=2e-4,
        atol=2e-5,
    )


def test_a_loop_has_statistics_of_every_turn(
    network: ResidualNetwork, batches: Batches, calibration: Batches
) -> None:
    route = Route((Parallel((0, 1), loops=2), *intact(network).steps[2:]))
    scores = evaluate(network, [route], batches, fast=False, calibration=calibration)

    def run(h: Tensor, blocks: list[nn.Module]) -> Tensor:
        """Six units in the order of their turns, a module for each."""
        h = (blocks[0](h) + blocks[1](h)) / 2
        h = (blocks[2](h) + blocks[3](h)) / 2
        for block in blocks[4:]:
            h = block(h)
        return h

    class Looped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            copies = [cifar(14) for _ in range(2)]
            self.model = copies[0]
            self.blocks = nn.ModuleList(
                [m.get_submodule("layer1")[u] for m in copies for u in (0, 1)]  # type: ignore[index]
                + [stage[index] for stage, index in blocks_of(self.model)[2:]]
            )

        def forward(self, x: Tensor) -> Tensor:
            h = torch.relu(self.model.bn1(self.model.conv1(x)))
            return self.model.linear(run(h, list(self.blocks)).mean((2, 3)))

    np.testing.assert_allclose(
        scores.values["loss"][0],
        losses(retrained(Looped(), [calibration.inputs]), batches),
        rtol=2e-4,
        atol=2e-5,
    )


def test_batches_of_the_calibration_examples_count_alike(
    network: ResidualNetwork, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resanalysis.routes import recalibration

    monkeypatch.setattr(recalibration, "MOST_TOGETHER", 13)
    many = Batches(torch.randn(30, 3, 16, 16, generator=torch.Generator().manual_seed(7)), None)
    scores = evaluate(network, [without(network, [1])], batches, calibration=many)
    model = retrained(removed(cifar(14), [1]), many.inputs.split(10))
    np.testing.assert_allclose(
        scores.values["loss"][0], losses(model, batches), rtol=2e-4, atol=2e-5
    )


def test_how_it_runs_changes_no_number(
    network: ResidualNetwork, batches: Batches, calibration: Batches
) -> None:
    routes = [intact(network), *(without(network, [unit]) for unit in range(6))]
    every = [
        evaluate(network, routes, batches, calibration=calibration, batch_size=size)
        for size in (4, 11)
    ]
    np.testing.assert_allclose(
        every[0].values["loss"], every[1].values["loss"], rtol=1e-4, atol=1e-5
    )


def test_an_interrupted_run_goes_on_and_ends_the_same(
    network: ResidualNetwork, batches: Batches, calibration: Batches
) -> None:
    routes = [intact(network), without(network, [2])]

    def run(store: Memory | None) -> Scores:
        return evaluate(
            network, routes, batches, calibration=calibration, batch_size=4, store=store
        )

    whole = run(None)
    for after in (2, 5):  # among the statistics, and behind them
        memory = Memory(after=after)
        with pytest.raises(KeyboardInterrupt):
            run(memory)
        memory.after = 10**9
        np.testing.assert_array_equal(run(memory).values["loss"], whole.values["loss"])
        assert memory.reads == after


def test_prefixes_are_computed_once_in_both_walks(
    network: ResidualNetwork,
    batches: Batches,
    calibration: Batches,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from resanalysis.routes import tree

    calls: list[object] = []
    run = tree.run_step
    monkeypatch.setattr(tree, "run_step", lambda *given: calls.append(given[1]) or run(*given))
    routes = [intact(network), *(without(network, [u]) for u in range(6))]
    evaluate(network, routes, batches, batch_size=11, calibration=calibration)
    assert len(calls) == 2 * 27


class Shift(nn.Module):
    """A unit whose branch adds the same to every example: all its deletion does is shift a mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.conv = nn.Conv2d(width, width, 1)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.bias.fill_(3.0)  # type: ignore[union-attr]

    def forward(self, h: Tensor) -> Tensor:
        return h + self.conv(self.norm(h))


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.first, self.second = Shift(4), Shift(4)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.second(self.first(self.stem(x)))
        return self.head(torch.relu(self.norm(h)).mean((2, 3)))


def test_a_deletion_that_only_shifts_a_mean_is_restored(
    batches: Batches, calibration: Batches
) -> None:
    torch.manual_seed(0)
    model = Toy()
    with torch.no_grad():
        model.head.weight.mul_(10)
    model = retrained(model, [calibration.inputs])
    network = unravel(model, batches.inputs[:2])
    routes = [intact(network), without(network, [0]), without(network, [0, 1])]
    before = evaluate(network, routes, batches)
    after = evaluate(network, routes, batches, calibration=calibration)
    assert before.mean("kl")[1] > 0.05
    np.testing.assert_allclose(after.values["kl"], 0, atol=1e-6)
    # The statistics are those that the model has, so estimating them changes nothing.
    np.testing.assert_allclose(after.values["loss"][0], before.values["loss"][0], rtol=1e-4)


def test_the_network_and_the_model_stay_as_they_are(
    images: Tensor, batches: Batches, calibration: Batches
) -> None:
    model = cifar(8)
    network = unravel(model, images[:2])
    first = evaluate(network, [intact(network)], batches)
    known = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(network, [without(network, [1])], batches, calibration=calibration)
    assert all(torch.equal(value, known[name]) for name, value in model.state_dict().items())
    again = evaluate(network, [intact(network)], batches)
    np.testing.assert_array_equal(first.values["loss"], again.values["loss"])


def test_weights_are_shared(network: ResidualNetwork) -> None:
    copy, _ = opened(network)
    mine = {id(t) for part in network.parts().values() for t in part.parameters()}
    assert {id(t) for part in copy.parts().values() for t in part.parameters()} <= mine


class Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.branch = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        return self.head((h + self.branch(torch.relu(h))).mean((2, 3)))


def one_line(error: pytest.ExceptionInfo[ValueError]) -> bool:
    return "\n" not in str(error.value)


def test_what_cannot_be_estimated_is_refused(
    network: ResidualNetwork, batches: Batches, calibration: Batches
) -> None:
    from dataclasses import replace

    def refused(matching: str, network: ResidualNetwork, calibration: Batches) -> None:
        with pytest.raises(ValueError, match=matching) as error:
            evaluate(network, [intact(network)], batches, calibration=calibration)
        assert one_line(error)

    bare = unravel(Bare(), batches.inputs[:2])
    refused("Bare has no batch norm with running statistics", bare, calibration)
    one = Batches(calibration.inputs[:1], None)
    refused("cannot be estimated on 1 example: give 2 or more", network, one)
    refused("on a multiple of 7, got 30", replace(network, batch_size=7), calibration)
    half = replace(network, arithmetic="bf16")
    refused("bf16 is for routes.*statistics are estimated", half, calibration)


def test_decomposed_graphs_are_estimated_too(batches: Batches, calibration: Batches) -> None:
    """A view that is written to makes torch's own decomposition run, with another form of batch norm."""

    class Written(Toy):
        def forward(self, x: Tensor) -> Tensor:
            x = x.clone()
            x[:, 0].mul_(0.5)
            return super().forward(x)

    torch.manual_seed(0)
    network = unravel(settle(Written()), batches.inputs[:2])
    scores = evaluate(network, [without(network, [0])], batches, calibration=calibration)

    def skipped(_m: nn.Module, args: tuple[Tensor], _o: Tensor) -> Tensor:
        return args[0]

    torch.manual_seed(0)
    model = settle(Written())
    model.get_submodule("first").register_forward_hook(skipped)
    np.testing.assert_allclose(
        scores.values["loss"][0],
        losses(retrained(model, [calibration.inputs]), batches),
        rtol=1e-4,
        atol=1e-5,
    )
