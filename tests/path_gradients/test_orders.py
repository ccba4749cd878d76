"""Coefficients of the output against all 2ⁿ paths one by one, and against a network that is linear."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import resanalysis as ra
from resanalysis.network import ResidualNetwork, run_piece
from resanalysis.path_gradients import freeze
from resanalysis.path_gradients.orders import output_orders
from resanalysis.path_gradients.tape import record
from tests.conftest import cifar
from tests.experiments.test_effects import Chain, Nonlinear


def orders_of(network: ResidualNetwork, x: Tensor) -> Tensor:
    ready = freeze(network, dtype=torch.float64)
    tape = record(ready, x.double(), torch.zeros(len(x), dtype=torch.long), at="first-unit")
    return output_orders(ready, tape, x.double())


def tangent(part: Any, x: Tensor, moved: Tensor) -> Tensor:
    """f(x) + J (moved − x), by a derivative of the whole part."""
    return part(x) + torch.func.jvp(part, (x,), (moved - x,))[1]


def along(network: ResidualNetwork, x: Tensor, factors: tuple[float, ...]) -> Tensor:
    """Logits of the network of tangents with each branch multiplied by a factor of its own."""
    with torch.no_grad():
        h, side = network.enter(x)
        moved = h
        for unit, factor in zip(network.units, factors, strict=True):
            parts = [
                lambda v, p=p: run_piece(p, v, side) for p in (unit.skip, unit.branch, unit.join)
            ]
            total = tangent(parts[0], h, moved) + factor * tangent(parts[1], h, moved)
            before = parts[0](h) + parts[1](h)
            moved, h = tangent(parts[2], before, total), unit(h, side)
        return tangent(lambda v: network.leave(v, side), h, moved)


@pytest.mark.parametrize(
    "options",
    [{}, pytest.param({"version": 2, "shortcut": "B"}, marks=pytest.mark.nightly)],
)
def test_each_order_is_the_sum_over_its_paths(options: Any, images: Tensor) -> None:
    """The output is linear in each unit's factor, so that inclusion and exclusion gives every single path."""
    network = freeze(ra.unravel(cifar(14, **options), images[:2]), dtype=torch.float64)
    x = images[:3].double()
    n = len(network)
    corner = {bits: along(network, x, bits) for bits in product((0.0, 1.0), repeat=n)}
    expected = torch.zeros(n + 1, *corner[(0.0,) * n].shape, dtype=torch.float64)
    for path in corner:
        within = [bits for bits in corner if all(b <= p for b, p in zip(bits, path, strict=True))]
        parts = ((-1) ** int(sum(path) - sum(bits)) * corner[bits] for bits in within)
        expected[int(sum(path))] += torch.stack(list(parts)).sum(0)
    found = orders_of(network, images[:3])
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(found.sum(0), network(x).detach())


def test_a_linear_chain_is_its_polynomial() -> None:
    rng = np.random.default_rng(0)
    layers = [torch.nn.Linear(6, 6) for _ in range(3)]
    for layer in layers:
        layer.weight.data = torch.from_numpy(rng.normal(size=(6, 6)))
        layer.bias.data = torch.from_numpy(rng.normal(size=6))
    model = Chain(list(layers)).double()  # type: ignore[arg-type]
    x = torch.from_numpy(rng.normal(size=(4, 6)))
    found = orders_of(ra.unravel(model, x), x)
    assert len(found) == 4
    for factor in (0.0, 0.3, 1.0, -2.0):
        with torch.no_grad():
            h = model.stem(x)
            for layer in layers:
                h = h + factor * layer(h)
            expected = model.head(h)
        total = sum(factor**k * part for k, part in enumerate(found))
        torch.testing.assert_close(total, expected)


def test_smooth_parts_are_taken_at_the_intact_pass() -> None:
    torch.manual_seed(1)
    model = Chain([Nonlinear(), Nonlinear()]).double()
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    network = ra.unravel(model, x)
    found = orders_of(network, x)
    torch.testing.assert_close(found.sum(0), model(x).detach())
    ready = freeze(network, dtype=torch.float64)
    torch.testing.assert_close(found[0], along(ready, x, (0.0, 0.0)))


def test_longer_paths_can_be_left_out(images: Tensor) -> None:
    network = freeze(ra.unravel(cifar(14), images[:2]), dtype=torch.float64)
    x = images[:2].double()
    tape = record(network, x, torch.zeros(2, dtype=torch.long), at="first-unit")
    whole = output_orders(network, tape, x)
    torch.testing.assert_close(output_orders(network, tape, x, max_length=2), whole[:3])
