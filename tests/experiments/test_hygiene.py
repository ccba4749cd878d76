"""After every experiment, also one that stops midway, the model and the process are as they were."""

from __future__ import annotations

import random
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import resanalysis as ra
from resanalysis.experiments import EXPERIMENTS, Experiment, experiment_named
from resanalysis.run.subject import Subject
from tests.conftest import cifar

SMALL: dict[str, dict[str, Any]] = {
    "lesion_many": {"removed": (1, 2), "draws": 2},
    "reorder": {"draws": 3},
    "rearrange": {"sizes": (2,), "draws": 1, "measure": "agreement"},
    "gradients": {"samples": 2, "repetitions": 2, "images": 4},
    "unit_share": {"images": 4},
    "prune": {"timing": 0, "draws": 1},
    "shapley": {"orders": 4},
    "scaling": {"factors": (0.0, 0.5, 1.0), "images": 4},
}
"""Options that make an experiment quick."""


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """In training mode with one frozen weight, so that a flag set for all would show."""
    model = cifar(14).train()
    next(model.parameters()).requires_grad_(False)
    return model


@pytest.fixture(scope="module")
def subject(model: nn.Module) -> Subject:
    pictures = np.random.default_rng(0).integers(0, 256, (12, 3, 8, 8), dtype=np.uint8)
    data = ra.image_dataset(pictures, np.arange(12) % 5, mean=[0.5] * 3, std=[0.25] * 3)
    example = data.batch(0, 12)[0]
    with torch.no_grad():  # an untrained network answers all images alike; centred logits do not
        model.get_parameter("linear.bias").sub_(model.eval()(example).mean(0))
    model.train()
    network = ra.unravel(model, example)
    subject = Subject(network=network, module=model, data=data, example=example, model="tiny")
    for (
        experiment
    ) in EXPERIMENTS:  # parts of torch and scipy draw random numbers as they are imported
        import_module(experiment.home)
    measured(experiment_named("lesion"), subject)
    return subject


def state_of(model: nn.Module) -> dict[str, Any]:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "weights": {name: value.clone() for name, value in model.state_dict().items()},
        "training": [module.training for module in model.modules()],
        "requires_grad": [weight.requires_grad for weight in model.parameters()],
        "grad": [weight.grad is None for weight in model.parameters()],
        "hooks": [len(getattr(module, name)) for module in model.modules() for name in hooks],
        "grad mode": torch.is_grad_enabled(),
        "default type": torch.get_default_dtype(),
        "random": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "threads": torch.get_num_threads(),
    }


def assert_same(one: Any, other: Any, where: str) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name in one:
            assert_same(one[name], other[name], f"{where} {name}")
    elif isinstance(one, tuple | list):
        assert len(one) == len(other), where
        for a, b in zip(one, other, strict=True):
            assert_same(a, b, where)
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, np.ndarray):
        assert np.array_equal(one, other), where
    else:
        assert one == other, where


def measured(experiment: Experiment, subject: Subject, store: Any = None) -> None:
    options = SMALL.get(experiment.stem, {})
    if experiment.takes in ("data", "modules"):
        options = {**options, "seed": 1, "store": store}
    experiment.measure(subject, **options)


class Full:
    """A store that is full at its second block."""

    def __init__(self) -> None:
        self.blocks = 0

    def get(self, _: str) -> None:
        return None

    def put(self, *_: object) -> None:
        self.blocks += 1
        raise RuntimeError("no space left")


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.stem)
def test_nothing_is_left_behind(experiment: Experiment, subject: Subject, model: nn.Module) -> None:
    before = state_of(model)
    measured(experiment, subject)
    assert_same(before, state_of(model), experiment.stem)


@pytest.mark.parametrize(
    "experiment",
    [one for one in EXPERIMENTS if one.takes in ("data", "modules")],
    ids=lambda experiment: experiment.stem,
)
def test_nothing_is_left_behind_where_it_stops_midway(
    experiment: Experiment, subject: Subject, model: nn.Module
) -> None:
    before = state_of(model)
    store = Full()
    with pytest.raises(RuntimeError, match="no space left"):
        measured(experiment, subject, store)
    assert store.blocks == 1
    assert_same(before, state_of(model), experiment.stem)


def test_a_hook_left_behind_is_found() -> None:
    model = cifar(8)
    before = state_of(model)
    hook = model.conv1.register_forward_hook(lambda *_: None)
    with pytest.raises(AssertionError, match="hooks"):
        assert_same(before, state_of(model), "")
    hook.remove()
    assert_same(before, state_of(model), "")
    torch.rand(1)
    with pytest.raises(AssertionError, match="torch"):
        assert_same(before, state_of(model), "")
