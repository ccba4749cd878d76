"""Every estimator against the gradients of all 2ⁿ paths, in double precision."""

from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from resanalysis.network import ResidualNetwork, ResidualUnit
from resanalysis.path_gradients import (
    Tape,
    draw_signs,
    draw_subsets,
    freeze,
    length_gradients,
    length_sums,
    path_norms,
    random_sign_squares,
    record,
    unit_shares,
)
from resanalysis.path_gradients.exact import full_gradient
from resanalysis.routes.loss import example_losses
from tests.path_gradients.brute_force import Paths, by_length, path_gradients, whole_gradient
from tests.path_gradients.conftest import layers, post_activation

TOLERANCE = 1e-10
Batch = tuple[Tensor, Tensor]


@pytest.fixture
def paths(network: ResidualNetwork, batch: Batch, at: str) -> Paths:
    return path_gradients(network, *batch, at)


def unscaled(tape: Tape, gradient: Tensor) -> Tensor:
    return gradient * tape.scale.view(-1, *(1,) * (gradient.ndim - 1))


def squares(gradient: Tensor) -> Tensor:
    return gradient.flatten(1).square().sum(1)


def close(found: Tensor, wanted: Tensor) -> bool:
    return bool((found - wanted).abs().max() <= TOLERANCE * wanted.abs().max())


def test_sums_over_lengths_equal_brute_force(tape: Tape, paths: Paths) -> None:
    found = length_sums(tape)
    wanted = by_length(paths)
    assert len(found) == len(wanted) == tape.residual + 1
    for ours, theirs in zip(found, wanted, strict=True):
        assert close(unscaled(tape, ours), theirs)


def test_lengths_sum_to_the_gradient(
    tape: Tape, network: ResidualNetwork, batch: Batch, at: str
) -> None:
    whole = whole_gradient(network, *batch, at)
    assert close(unscaled(tape, torch.stack(length_sums(tape)).sum(0)), whole)
    assert close(unscaled(tape, full_gradient(tape)), whole)


def test_norms_and_shares_equal_brute_force(tape: Tape, paths: Paths) -> None:
    found = length_gradients(tape)
    sums = by_length(paths)
    whole = torch.stack(sums).sum(0)
    shares = torch.stack([(g * whole).flatten(1).sum(1) for g in sums]) / squares(whole)
    assert close(found.norms, torch.stack([squares(g).sqrt() for g in sums]))
    assert close(found.shares, shares)
    assert close(found.full, squares(whole).sqrt())
    assert torch.allclose(found.shares.sum(0), torch.ones(len(whole), dtype=torch.float64))


def test_a_shorter_sweep_gives_the_same_first_lengths(tape: Tape) -> None:
    whole, short = length_gradients(tape), length_gradients(tape, max_length=2)
    assert len(short.norms) == 3
    assert torch.allclose(short.norms, whole.norms[:3], rtol=1e-12)
    assert torch.allclose(short.shares, whole.shares[:3], rtol=1e-10)
    assert torch.allclose(short.full, whole.full, rtol=1e-12)
    assert len(length_sums(tape, max_length=0)) == 1


def test_every_single_path_equals_brute_force(tape: Tape, paths: Paths) -> None:
    masks = np.array(list(paths), dtype=bool)
    wanted = torch.stack([squares(gradient).sqrt() for gradient in paths.values()])
    for at_once in (1, 7, 1000):
        assert close(path_norms(tape, masks, at_once=at_once), wanted)


def test_triangle_inequality_at_every_length(tape: Tape, paths: Paths) -> None:
    masks = np.array(list(paths), dtype=bool)
    norms = path_norms(tape, masks)
    sums = length_gradients(tape).norms
    for k in range(tape.residual + 1):
        of_length = norms[torch.from_numpy(masks.sum(1) == k)]
        assert len(of_length) == comb(tape.residual, k)
        assert bool((of_length.sum(0) >= sums[k] * (1 - 1e-12)).all())
        assert bool((of_length.square().mean(0).sqrt() >= of_length.mean(0) * (1 - 1e-12)).all())


def test_random_signs_average_to_the_mean_square(tape: Tape, paths: Paths) -> None:
    """The expectation over all 2ⁿ sign patterns is a finite sum: unbiased to rounding."""
    n, images = tape.residual, len(tape.losses)
    signs = np.array(list(product((-1, 1), repeat=n)), dtype=np.int8)
    every = np.repeat(signs[:, :, None], images, axis=2)
    found = random_sign_squares(tape, every).mean(0)
    wanted = [
        sum(squares(gradient) for bits, gradient in paths.items() if sum(bits) == k)
        for k in range(n + 1)
    ]
    assert close(found, torch.stack(wanted))  # type: ignore[arg-type]


def test_each_example_has_its_own_signs(tape: Tape) -> None:
    n, images = tape.residual, len(tape.losses)
    signs = draw_signs(n, 2, images, seed=1)
    together = random_sign_squares(tape, signs)
    for image in range(images):
        alone = np.repeat(signs[:, :, image : image + 1], images, axis=2)
        assert torch.allclose(random_sign_squares(tape, alone)[:, :, image], together[:, :, image])


def test_unit_shares_equal_brute_force(tape: Tape, paths: Paths) -> None:
    n = tape.residual
    whole = torch.stack(list(paths.values())).sum(0)
    wanted = torch.zeros(n, n + 1, len(whole), dtype=torch.float64)
    for bits, gradient in paths.items():
        for unit in range(n):
            if bits[unit]:
                wanted[unit, sum(bits)] += (gradient * whole).flatten(1).sum(1)
    wanted /= squares(whole)
    found = unit_shares(tape)
    assert close(found, wanted)
    assert torch.allclose(unit_shares(tape, max_length=2), wanted[:, :3], atol=1e-12)
    assert not unit_shares(tape, max_length=0).any()
    lengths = torch.arange(n + 1)[:, None]
    assert torch.allclose(found.sum(0), lengths * length_gradients(tape).shares, atol=1e-12)


def test_stacked_cotangents_give_the_same(network: ResidualNetwork, batch: Batch) -> None:
    loop, stacked = record(network, *batch), record(network, *batch, at_once=3)
    for one, other in zip(length_sums(loop), length_sums(stacked), strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-14)
    masks = draw_subsets(loop.residual, 2, 4, seed=0)
    assert torch.allclose(path_norms(loop, masks), path_norms(stacked, masks))


def test_a_broken_recursion_is_found(tape: Tape, paths: Paths) -> None:
    """The comparison with brute force can fail: sums shifted by one length are not close."""
    shifted = by_length(paths)[1:]
    found = length_sums(tape)[:-1]
    assert not all(close(unscaled(tape, a), b) for a, b in zip(found, shifted, strict=True))


def test_an_example_does_not_depend_on_its_batch(network: ResidualNetwork, batch: Batch) -> None:
    images, labels = batch
    whole = length_gradients(record(network, images, labels))
    alone = length_gradients(record(network, images[1:2], labels[1:2]))
    assert torch.allclose(whole.norms[:, 1:2], alone.norms, rtol=1e-12)


def test_a_confident_prediction_keeps_its_gradient() -> None:
    """A loss gradient of 1e-30 would lose its longest paths to underflow without the scale."""
    torch.manual_seed(0)
    network = freeze(post_activation())
    network.head.bias.data = torch.tensor([70.0, 0.0, 0.0, 0.0])
    images, labels = torch.randn(2, 6), torch.zeros(2, dtype=torch.int64)
    found = length_gradients(record(network, images, labels))
    exact = freeze(network, dtype=torch.float64)
    wanted = length_gradients(record(exact, images.double(), labels))
    assert float(wanted.full.max()) < 1e-28
    assert torch.allclose(found.norms, wanted.norms, rtol=1e-3, atol=0)


def test_a_zero_gradient_has_no_shares() -> None:
    torch.manual_seed(0)
    network = post_activation()
    nn.init.zeros_(network.head.weight)
    found = length_gradients(record(freeze(network), torch.randn(2, 6), torch.tensor([0, 1])))
    assert not found.full.any()
    assert not found.norms.any()
    assert bool(found.shares.isnan().all())


def test_subsets_are_uniform_and_of_the_length() -> None:
    masks = draw_subsets(6, 3, 15, seed=0)
    assert masks.shape == (15, 6)
    assert (masks.sum(1) == 3).all()
    many = np.concatenate([draw_subsets(6, 3, 19, seed=seed) for seed in range(400)])
    found = np.unique(many, axis=0, return_counts=True)[1]
    assert len(found) == comb(6, 3)
    # 7600 draws of 20 subsets: 380 each, standard deviation 19.
    assert np.abs(found - 380).max() < 5 * 19


def test_few_subsets_are_listed_once_and_draws_are_nested() -> None:
    every = draw_subsets(6, 2, 15, seed=0)
    assert len(np.unique(every, axis=0)) == comb(6, 2) == len(every)
    assert (draw_subsets(9, 4, 20, seed=5) == draw_subsets(9, 4, 60, seed=5)[:20]).all()
    assert (draw_subsets(9, 4, 20, seed=5) != draw_subsets(9, 4, 20, seed=6)).any()
    with pytest.raises(ValueError, match=r"^paths of 4 units have length 0 to 4, got 5$"):
        draw_subsets(4, 5, 1, seed=0)


def test_weights_gradient_mode_and_random_state_stay(batch: Batch) -> None:
    network = post_activation().to("cpu", torch.float64)
    network.units[0].branch.train()
    before = {
        f"{name}.{key}": tensor.clone()
        for name, part in network.parts().items()
        for key, tensor in part.state_dict().items()
    }
    state = torch.get_rng_state()
    with torch.no_grad():
        tape = record(freeze(network, dtype=torch.float64), *batch)
        length_gradients(tape)
        random_sign_squares(tape, draw_signs(8, 1, 3, seed=0))
        unit_shares(tape)
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)
    assert network.units[0].branch.training
    for name, part in network.parts().items():
        assert all(p.requires_grad and p.grad is None for p in part.parameters())
        for key, tensor in part.state_dict().items():
            assert torch.equal(tensor, before[f"{name}.{key}"])


def test_errors() -> None:
    network = freeze(post_activation())
    images, labels = torch.randn(2, 6), torch.tensor([0, 1])
    tokens = torch.zeros(2, 6, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"^no gradient at the input of network, which takes torch"
                       r"\.int64 values: measure it at the stream before the first unit "):  # fmt: skip
        record(network, tokens, labels)
    with pytest.raises(ValueError, match=r"takes more than one input tensor: measure it at"):
        record(network, (images,), labels)
    with pytest.raises(
        ValueError, match=r"^gradients are measured at input or first-unit, got 'x'$"
    ):
        record(network, images, labels, at="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^label 9 is out of range: the model has 4 classes$"):
        record(network, images, torch.tensor([0, 9]))
    with pytest.raises(ValueError, match=r"^a loss needs one label per example, or one per token: the "
                       r"output is \(2, 4\), the labels \(3,\)$"):  # fmt: skip
        example_losses(torch.zeros(2, 4), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"^masks must be \(paths, 8\), got \(1, 3\)$"):
        path_norms(record(network, images, labels), np.zeros((1, 3), dtype=bool))
    plain = ResidualNetwork(
        nn.Identity(),
        (ResidualUnit(0, "a", nn.Identity(), layers(), skip_kind="none"),),
        nn.Identity(),
    )
    with pytest.raises(ValueError, match=r"^network has no unit with a skip, so one path only: "):
        record(plain, torch.randn(2, 5), labels)


def test_side_inputs_made_of_the_input_are_refused(batch: Batch) -> None:
    class Stem(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
            return x[:, :5], (x,)

    network = post_activation()
    made = ResidualNetwork(Stem(), network.units, network.head)
    with pytest.raises(ValueError, match=r"^units of network read side inputs that depend on the model's "
                       r"input, .*: measure it at first-unit$"):  # fmt: skip
        record(freeze(made, dtype=torch.float64), *batch)
    assert record(freeze(made, dtype=torch.float64), *batch, at="first-unit").residual == 8


def test_tokens_have_a_mean_loss_over_their_positions() -> None:
    logits = torch.randn(2, 4, 7, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[1, 2, 3, 4], [1, 2, -100, -100]])
    log_p = logits.log_softmax(-1)
    first = -(log_p[0, 0, 2] + log_p[0, 1, 3] + log_p[0, 2, 4]) / 3
    assert torch.allclose(
        example_losses(logits, labels), torch.stack([first, -log_p[1, 0, 2]]).double()
    )
