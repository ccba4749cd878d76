"""The prefix-tree evaluator against whole passes written out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resanalysis import unravel
from resanalysis.network import ResidualNetwork
from resanalysis.routes.batches import chosen_batch_size
from resanalysis.routes.evaluator import Scores, evaluate
from resanalysis.routes.route import (
    Parallel,
    Route,
    cut_skip,
    intact,
    reordered,
    scaled,
    without,
)
from resanalysis.routes.tree import PrefixTree
from tests.conftest import SHARED, Batches, cifar
from tests.reference import post_activation_pass, with_zeroed


@pytest.fixture(scope="module")
def network() -> ResidualNetwork:
    return unravel(cifar(14), torch.randn(2, 3, 16, 16))


def expected_rows(logits: Tensor, labels: Tensor, reference: Tensor) -> dict[str, np.ndarray]:
    log_p, log_q = F.log_softmax(logits, 1), F.log_softmax(reference, 1)
    return {
        "error": (logits.argmax(1) != labels).float().numpy(),
        "loss": F.cross_entropy(logits, labels, reduction="none").numpy(),
        "agreement": (logits.argmax(1) == reference.argmax(1)).float().numpy(),
        "kl": F.kl_div(log_p, log_q, log_target=True, reduction="none").sum(1).numpy(),
    }


def assert_row(scores: Scores, row: int, logits: Tensor, labels: Tensor, reference: Tensor) -> None:
    for name, value in expected_rows(logits, labels, reference).items():
        np.testing.assert_allclose(
            scores.values[name][row], value, rtol=2e-3, atol=2e-5, err_msg=f"{name} of row {row}"
        )


def test_assert_row_can_fail(network: ResidualNetwork, batches: Batches) -> None:
    scores = evaluate(network, [intact(network)], batches)
    wrong = torch.randn(11, 5)
    with pytest.raises(AssertionError, match="of row 0"):
        assert_row(scores, 0, wrong, batches.labels, wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch_size", [1, 4, 11, None])
@pytest.mark.parametrize("fast", [True, False])
def test_single_lesions_equal_zeroed_branches(
    network: ResidualNetwork, batches: Batches, batch_size: int | None, fast: bool
) -> None:
    model = cifar(14)
    routes = [intact(network), *(without(network, [u]) for u in range(6))]
    scores = evaluate(network, routes, batches, batch_size=batch_size, fast=fast)
    x, y = batches.inputs, batches.labels
    assert y is not None
    with torch.no_grad():
        reference = model(x)
    assert_row(scores, 0, reference, y, reference)
    blocks = [block for stage in (model.layer1, model.layer2, model.layer3) for block in stage]
    for unit in range(6):
        logits = with_zeroed(model, [blocks[unit].bn2], x)
        assert_row(scores, unit + 1, logits, y, reference)


def test_orders_scales_and_cut_skips_equal_a_loop(
    network: ResidualNetwork, batches: Batches
) -> None:
    model = cifar(14)
    x, y = batches.inputs, batches.labels
    assert y is not None
    plain = list(range(6))
    routes = [
        reordered(network, (1, 0, 2, 3, 4, 5)),
        scaled(network, {3: 0.25}),
        cut_skip(network, [1]),
        without(network, [0, 2, 5]),
        intact(network),
    ]
    changes = [
        ((1, 0, 2, 3, 4, 5), None),
        (plain, lambda u, skip, branch: skip + (0.25 if u == 3 else 1.0) * branch),
        (plain, lambda u, skip, branch: branch if u == 1 else skip + branch),
        (plain, lambda u, skip, branch: skip if u in {0, 2, 5} else skip + branch),
        (plain, None),
    ]
    scores = evaluate(network, routes, batches, batch_size=4)
    with torch.no_grad():
        reference = model(x)
    for row, (order, change) in enumerate(changes):
        assert_row(scores, row, post_activation_pass(model, x, order, change), y, reference)


def test_parallel_is_the_mean_of_the_units(network: ResidualNetwork, batches: Batches) -> None:
    route = Route((Parallel((0, 1), loops=2), *intact(network).steps[2:]))
    scores = evaluate(network, [route], batches, fast=False)
    with torch.no_grad():
        h, _ = network.enter(batches.inputs)
        for _ in range(2):
            h = (network.units[0](h) + network.units[1](h)) / 2
        for unit in network.units[2:]:
            h = unit(h)
        logits = network.leave(h)
    assert batches.labels is not None
    np.testing.assert_allclose(
        scores.values["loss"][0],
        F.cross_entropy(logits, batches.labels, reduction="none"),
        rtol=1e-4,
    )


def test_prefixes_are_computed_once(network: ResidualNetwork) -> None:
    routes = [intact(network), *(without(network, [u]) for u in range(6))]
    tree = PrefixTree.of(list(enumerate(routes)))
    # 6 steps of the intact route, and for unit u the skip and the 5 − u units after it.
    assert tree.size == 6 + sum(1 + 5 - u for u in range(6))
    assert tree.size == count_steps(tree)


def count_steps(tree: PrefixTree) -> int:
    return sum(1 + count_steps(child) for child in tree.children.values())


def test_unit_evaluations_are_as_many_as_the_tree_says(
    network: ResidualNetwork, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    from resanalysis import evaluate as _  # noqa: F401 (the function; its module is patched below)

    module = sys.modules["resanalysis.routes.tree"]
    calls: list[object] = []
    run = module.run_step

    def counting(*args: object) -> Tensor:
        calls.append(args[1])
        return run(*args)

    monkeypatch.setattr(module, "run_step", counting)
    routes = [intact(network), *(without(network, [u]) for u in range(6))]
    evaluate(network, routes, batches, batch_size=11)
    assert len(calls) == 27


class Memory:
    """A block store that fails after some blocks, as an interruption does."""

    def __init__(self, after: int = 10**9) -> None:
        self.kept: dict[str, dict[str, np.ndarray]] = {}
        self.after = after
        self.reads = 0

    def get(self, key: str) -> dict[str, np.ndarray] | None:
        found = self.kept.get(key)
        self.reads += found is not None
        return found

    def put(self, key: str, arrays: dict[str, np.ndarray]) -> None:
        if len(self.kept) >= self.after:
            raise KeyboardInterrupt
        self.kept[key] = {name: value.copy() for name, value in arrays.items()}


def test_an_interrupted_run_goes_on_and_ends_the_same(
    network: ResidualNetwork, batches: Batches
) -> None:
    routes = [without(network, [u]) for u in range(6)]
    whole = evaluate(network, routes, batches, batch_size=3)
    memory = Memory(after=2)
    with pytest.raises(KeyboardInterrupt):
        evaluate(network, routes, batches, batch_size=3, store=memory)
    assert len(memory.kept) == 2
    memory.after = 100
    resumed = evaluate(network, routes, batches, batch_size=3, store=memory)
    assert memory.reads == 2
    for name, value in whole.values.items():
        assert np.array_equal(resumed.values[name], value), name


def test_blocks_of_routes_give_what_one_block_gives(
    network: ResidualNetwork, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    generator = np.random.default_rng(0)
    routes = [without(network, generator.permutation(6)[:3].tolist()) for _ in range(20)]
    whole = evaluate(network, routes, batches)
    monkeypatch.setattr(sys.modules["resanalysis.routes.tree"], "_BLOCK_STEPS", 12)
    parts = evaluate(network, routes, batches)
    for name in whole.values:
        np.testing.assert_allclose(parts.values[name], whole.values[name], rtol=1e-5, atol=1e-6)


def test_without_labels_there_is_agreement_and_kl_alone(
    network: ResidualNetwork, images: Tensor
) -> None:
    scores = evaluate(network, [intact(network)], Batches(images, None))
    assert np.isnan(scores.values["error"]).all()
    assert (scores.values["agreement"] == 1).all()
    np.testing.assert_allclose(scores.values["kl"], 0, atol=1e-6)


def test_nothing_to_evaluate(network: ResidualNetwork, batches: Batches) -> None:
    with pytest.raises(ValueError, match="nothing to evaluate: 0 routes on 11 examples"):
        evaluate(network, [], batches)


def test_the_network_is_left_as_it_was(network: ResidualNetwork, batches: Batches) -> None:
    before = {
        name: [p.clone() for p in part.parameters()] for name, part in network.parts().items()
    }
    evaluate(network, [intact(network), without(network, [0])], batches)
    for name, part in network.parts().items():
        assert all(map(torch.equal, before[name], part.parameters())), name
        assert all(not module._forward_hooks for module in part.modules())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(("version", "shortcut"), [(1, "A"), (1, "B"), (2, "A"), (2, "B")])
def test_the_fast_form_computes_the_same(version: int, shortcut: str, images: Tensor) -> None:
    from resanalysis.routes.forward_only import forward_only

    network = unravel(cifar(14, version=version, shortcut=shortcut), images[:2])
    fast = forward_only(network)
    with torch.inference_mode():
        x = images.contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(fast(x), network(images), rtol=1e-4, atol=1e-4)
        h, _ = network.enter(images)
        for unit, other in zip(network.units, fast.units, strict=True):
            kept = h.clone()
            torch.testing.assert_close(other.branch(h), unit.branch(h), rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(
                other.without_branch(h), unit.without_branch(h), rtol=1e-4, atol=1e-4
            )
            assert torch.equal(h, kept), "an in-place operation reached the stream"
            h = unit(h)


def test_batch_size_stays_inside_the_memory(network: ResidualNetwork) -> None:
    stream = 4 * 4 * 16 * 16
    assert chosen_batch_size(network, 10_000, memory=16 * stream * 10) == 8
    assert chosen_batch_size(network, 10_000, memory=1) == 1
    assert chosen_batch_size(network, 3) == 3


class Counter(nn.Module):
    """Fixes the batch size while it is captured."""

    def __init__(self) -> None:
        super().__init__()
        self.f, self.out = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.f(x) * torch.ones(int(x.shape[0]), 1)
        return self.out(x)


def test_a_fixed_batch_size_is_padded() -> None:
    torch.manual_seed(0)
    model = Counter()
    x, y = torch.randn(7, 4), torch.zeros(7, dtype=torch.long)
    network = unravel(model, x[:3])
    scores = evaluate(network, [intact(network)], Batches(x, y))
    with torch.no_grad():
        expected = F.cross_entropy(model(x), y, reduction="none")
    np.testing.assert_allclose(scores.values["loss"][0], expected, rtol=1e-4)


def test_a_trained_network_equals_a_naive_loop_to_the_image() -> None:
    """The smallest that ships, on few of its images; published ones in the nightly set."""
    import resanalysis as ra

    model = ra.load("bundled:resnet20-fashion-mnist")
    data = ra.dataset("bundled:fashion-mnist-test", limit=60)
    x, labels = data.batch(0, 60)
    assert isinstance(x, Tensor)
    network = ra.unravel(model, x[:2])
    scores = evaluate(
        network, [intact(network), without(network, [0]), without(network, [5])], data
    )
    blocks = [b for s in ("layer1", "layer2", "layer3") for b in model.get_submodule(s).children()]
    for row, zeroed in enumerate(([], [blocks[0].bn2], [blocks[5].bn2])):
        wrong = (with_zeroed(model, zeroed, x).argmax(1) != labels).numpy()
        assert np.array_equal(scores.values["error"][row].astype(bool), wrong), f"row {row}"
    assert 0 < scores.values["error"][1].mean() < 1


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "errors", "units"),
    [
        ("resnet20-12fca82f.th", 85, range(9)),
        # Of the large one the ends of the stages, for time.
        ("resnet56-4bfd9763.th", 74, (0, 9, 18, 26)),
    ],
)
def test_real_networks_equal_a_naive_loop_to_the_image(
    file: str, errors: int, units: Sequence[int]
) -> None:
    if not (SHARED / "models" / "cifar10" / file).is_file():
        pytest.skip("needs the trained CIFAR-10 networks, which the project does not ship")
    import resanalysis as ra

    model = ra.load(SHARED / "models" / "cifar10" / file)
    data = ra.dataset(
        SHARED / "data" / "cifar10" / "cifar10_test_first1017.npz", normalize="imagenet"
    )
    images, labels = data.batch(0, len(data))
    assert isinstance(images, Tensor)
    assert labels is not None
    network = ra.unravel(model, images[:2])
    scores = evaluate(network, [intact(network), *(without(network, [u]) for u in units)], data)
    assert int(scores.values["error"][0].sum()) == errors
    blocks = [b for s in ("layer1", "layer2", "layer3") for b in model.get_submodule(s).children()]
    for row, unit in enumerate(units, start=1):
        logits = torch.cat([with_zeroed(model, [blocks[unit].bn2], x) for x in images.split(128)])
        wrong = (logits.argmax(1) != labels).numpy()
        assert np.array_equal(scores.values["error"][row].astype(bool), wrong), f"unit {unit}"
