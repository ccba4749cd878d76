"""Estimates: counted unit evaluations against the formula, and the words."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import resanalysis as ra
from resanalysis.experiments import EXPERIMENTS, experiment_named
from resanalysis.routes.route import intact, without
from resanalysis.routes.tree import route_blocks
from resanalysis.run.cost import cost_of, duration, seconds_per_pass
from resanalysis.run.subject import Subject
from tests.conftest import cifar


@pytest.fixture(scope="module")
def subject() -> Subject:
    pictures = np.random.default_rng(0).integers(0, 256, (20, 3, 8, 8), dtype=np.uint8)
    data = ra.image_dataset(pictures, np.arange(20) % 5, mean=[0.5] * 3, std=[0.25] * 3)
    model = cifar(20)
    example = data.batch(0, 4)[0]
    network = ra.unravel(model, example)
    return Subject(network=network, module=model, data=data, example=example, model="tiny")


def test_lesions_are_as_many_passes_as_the_tree_has(subject: Subject) -> None:
    network = subject.network
    routes = [intact(network), *(without(network, [unit.index]) for unit in network.units)]
    steps = sum(block.tree.size for block in route_blocks(routes))
    passes = experiment_named("lesion").work_of(len(network), {}).passes
    assert 0.5 < passes / (steps / len(network)) < 2


def test_random_deletions_are_as_many_passes_as_the_tree_has(subject: Subject) -> None:
    network, random = subject.network, np.random.default_rng(0)
    units = np.arange(len(network))
    routes = [
        without(network, random.permutation(units)[:k].tolist())
        for k in (1, 2, 4)
        for _ in range(10)
    ]
    steps = sum(block.tree.size for block in route_blocks([intact(network), *routes]))
    options = {"removed": (1, 2, 4), "draws": 10}
    passes = experiment_named("lesion_many").work_of(len(network), options).passes
    assert 0.5 < passes / (steps / len(network)) < 2


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda one: one.stem)
def test_every_experiment_has_an_estimate(
    experiment: ra.experiments.Experiment, subject: Subject
) -> None:
    options = experiment.in_report(subject) or {}
    cost = cost_of(experiment, subject, options, 0.01)
    few = cost_of(experiment, subject, options, 0.001)
    assert cost.seconds >= few.seconds >= 0
    assert cost.of.startswith("9 units × ")


def test_a_batch_is_timed(subject: Subject) -> None:
    assert 0 < seconds_per_pass(subject) < 10
    assert torch.is_grad_enabled()


def test_a_cost_in_words(subject: Subject) -> None:
    options = {"removed": tuple(range(1, 5)), "draws": 100}
    cost = cost_of(experiment_named("lesion_many"), subject, options, 0.1)
    assert (
        str(cost) == f"9 units × 100 draws × 4 sizes × 20 examples: about {duration(cost.seconds)}"
    )
    assert cost.long


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (89, "89 s"), (720, "12 min"), (7200, "2.0 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
