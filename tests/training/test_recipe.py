"""Recipes: the papers' numbers, and rates written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from resanalysis.training.loop import optimiser_of
from resanalysis.training.recipe import RECIPES, Recipe


def test_he_2015_is_64_thousand_iterations_divided_at_32_and_48() -> None:
    recipe = RECIPES["he2015"]
    for per_epoch in (351, 390, 468):  # 45,000, 50,000 and 60,000 images
        assert recipe.steps(per_epoch) == 64_000
        rates = [recipe.rate(step, per_epoch) for step in (0, 31_999, 32_000, 47_999, 48_000)]
        assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001])
    assert (recipe.batch_size, recipe.momentum, recipe.weight_decay) == (128, 0.9, 1e-4)
    assert not recipe.nesterov


def test_the_warm_up_of_resnet_110_is_400_iterations() -> None:
    recipe = RECIPES["he2015-warmup"]
    assert [recipe.rate(step, 390) for step in (0, 399, 400)] == pytest.approx([0.01, 0.01, 0.1])


def test_huang_2016_divides_at_epochs_250_and_375() -> None:
    recipe = RECIPES["huang2016"]
    steps = [250 * 351 - 1, 250 * 351, 375 * 351 - 1, 375 * 351]
    assert recipe.steps(351) == 500 * 351
    assert [recipe.rate(step, 351) for step in steps] == pytest.approx([0.1, 0.01, 0.01, 0.001])


def test_one_cycle_rises_in_a_line_and_falls_along_a_cosine() -> None:
    recipe = Recipe(epochs=3, schedule="one-cycle", warmup=1.0, learning_rate=0.2)
    rates = [recipe.rate(step, 10) for step in range(30)]
    assert rates[:10] == pytest.approx([0.02 * (step + 1) for step in range(10)])
    expected = [0.1 * (1 + math.cos(math.pi * step / 20)) for step in range(20)]
    assert rates[10:] == pytest.approx(expected)


def test_half_size_is_the_first_part_of_the_time() -> None:
    recipe = Recipe(epochs=4, half_size=0.75)
    halves = [recipe.halves(step, 10) for step in range(40)]
    assert halves == [True] * 30 + [False] * 10
    assert not any(Recipe(epochs=4).halves(step, 10) for step in range(40))


def test_weight_decay_acts_on_what_the_recipe_says() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))

    def decayed(recipe: Recipe) -> int:
        groups = optimiser_of(model, recipe).param_groups
        return sum(len(group["params"]) for group in groups if group["weight_decay"] > 0)

    assert decayed(RECIPES["he2015"]) == len(list(model.parameters())) == 6
    assert decayed(RECIPES["short"]) == 2, "the weights of the convolution and the linear layer"
    for recipe in (RECIPES["he2015"], RECIPES["short"]):
        groups = optimiser_of(model, recipe).param_groups
        assert sum(len(group["params"]) for group in groups) == 6


def test_weight_decay_shrinks_what_has_no_gradient() -> None:
    weight = nn.Parameter(torch.ones(3))
    model = nn.ParameterList([weight])
    optimiser = optimiser_of(model, Recipe(weight_decay=0.5, learning_rate=0.1))
    weight.grad = torch.zeros(3)
    optimiser.step()
    torch.testing.assert_close(weight.detach(), torch.full((3,), 1 - 0.1 * 0.5))


def test_recipes_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"epochs .*> 0, .* got 0, 128, 0\.1"):
        Recipe(epochs=0)
    with pytest.raises(ValueError, match="got -5, 128"):
        Recipe(iterations=-5)
    with pytest.raises(ValueError, match="half_size is a part of the time, 0 to 1, got 2"):
        Recipe(half_size=2)
