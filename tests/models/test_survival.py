"""Stochastic depth: its expectation, exactly m units, and batches that leave no trace."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from resanalysis.models.cifar_resnet import CifarResNet, PreActivationBlock
from resanalysis.models.survival import (
    keep_all,
    leave_out,
    set_survival,
    survivals,
)
from tests.conftest import cifar, settle


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_at_test_a_unit_is_its_expectation_over_training() -> None:
    """Identity after the addition: the mean over present and absent is the scaled unit, exactly."""
    torch.manual_seed(0)
    unit = PreActivationBlock(4, 4, 1, "A")
    settle(unit)
    x = torch.randn(3, 4, 6, 6)
    unit.survival.probability = 0.3
    scaled = unit(x)
    unit.survival.probability = 1.0
    present = unit(x)
    torch.testing.assert_close(scaled, 0.3 * present + 0.7 * x)


def test_a_network_of_all_subsets_of_units() -> None:
    """In training mode each subset of units runs as if the others were not there."""
    model = cifar(8, version=2)
    images = torch.randn(2, 3, 16, 16, generator=generator(1))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    units = [unit for stage in (model.layer1, model.layer2, model.layer3) for unit in stage]
    model.train()
    for kept in itertools.product([True, False], repeat=3):
        for end, present in zip(survivals(model), kept, strict=True):
            end.kept = present
        x = model.conv1(images)
        for unit, present in zip(units, kept, strict=True):
            assert isinstance(unit, PreActivationBlock)
            end, whole = unit.survival.kept, unit.shortcut(x)
            assert end == present
            x = whole if not present else unit(x)
        expected = model.linear(torch.relu(model.bn(x)).mean((2, 3)))
        torch.testing.assert_close(model(images), expected)


def test_an_absent_branch_leaves_no_trace_in_batch_norm() -> None:
    model = cifar(8).train()
    before = {key: value.clone() for key, value in model.layer2.state_dict().items()}
    survivals(model)[1].kept = False
    model(torch.randn(4, 3, 16, 16, generator=generator()))
    for key, value in model.layer2.state_dict().items():
        assert torch.equal(value, before[key]), key
    model.eval()
    assert not survivals(model)[1].absent, "at test every branch runs"


def test_exactly_so_many_units_run() -> None:
    """Training on effective paths: 23 of 54 in every batch, each unit as often as any other."""
    with torch.device("meta"):
        model = CifarResNet(110)
    chance = generator()
    drawn = [leave_out(model, 23, chance) for _ in range(400)]
    assert {sum(kept) for kept in drawn} == {23}
    assert len({tuple(kept) for kept in drawn}) > 390
    rates = torch.tensor(drawn, dtype=torch.float64).mean(0)
    # Of 54 rates with a standard error of 0.025, the largest deviation is below 4 of them.
    assert float((rates - 23 / 54).abs().max()) < 4 * 0.025
    keep_all(model)
    assert all(end.kept for end in survivals(model))


def test_each_unit_runs_with_its_own_probability() -> None:
    model = cifar(14)
    set_survival(model, [1.0, 0.9, 0.7, 0.5, 0.3, 0.1])
    chance = generator()
    drawn = torch.tensor([leave_out(model, None, chance) for _ in range(2000)]).double().mean(0)
    wanted = torch.tensor([1.0, 0.9, 0.7, 0.5, 0.3, 0.1], dtype=torch.float64)
    assert drawn[0] == 1.0
    assert float((drawn - wanted).abs().max()) < 4 * 0.5 / 2000**0.5


def test_where_every_unit_runs_no_chance_is_used() -> None:
    model = cifar(8)
    chance = generator()
    before = chance.get_state()
    assert leave_out(model, None, chance) == [True] * 3
    assert torch.equal(chance.get_state(), before)


def test_probabilities_that_do_not_fit() -> None:
    model = cifar(8)
    with pytest.raises(ValueError, match="2 survival probabilities for 3 units"):
        set_survival(model, [0.5, 0.5])
    with pytest.raises(ValueError, match="above 0 and at most 1, got 0"):
        set_survival(model, [0.5, 0.5, 0.0])
    with pytest.raises(ValueError, match="2 survival probabilities for 3 units"):
        CifarResNet(8, survival=[0.5, 0.5])
