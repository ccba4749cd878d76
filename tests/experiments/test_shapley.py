"""Shapley values against all orders written out, and the laws they obey."""

from __future__ import annotations

from itertools import permutations
from math import factorial

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import resanalysis as ra
from resanalysis.datasets import Dataset
from resanalysis.network import ResidualNetwork
from tests.conftest import cifar
from tests.experiments.one_by_one import Kept, Plain, scores_without, tiny_data, tiny_network
from tests.reference import bca

CONTRACT = ["unit", "name", "value", "value_low", "value_high", "damage"]


@pytest.fixture(scope="module")
def data() -> Dataset:
    return tiny_data()


@pytest.fixture(scope="module")
def network(data: Dataset) -> ResidualNetwork:
    return tiny_network(data)


class Game:
    """The loss of each example without any set of units, each measured once."""

    def __init__(self, network: ResidualNetwork, data: Dataset) -> None:
        self.network, self.data = network, data
        self.known: dict[frozenset[int], np.ndarray] = {}

    def loss(self, gone: frozenset[int]) -> np.ndarray:
        if gone not in self.known:
            self.known[gone] = scores_without(self.network, self.data, gone)["loss"]
        return self.known[gone]

    def of_order(self, order: tuple[int, ...]) -> np.ndarray:
        """What each unit adds when it goes (n, N)."""
        added = np.empty((len(order), len(self.data)))
        for k, unit in enumerate(order):
            added[unit] = self.loss(frozenset(order[: k + 1])) - self.loss(frozenset(order[:k]))
        return added


@pytest.fixture(scope="module")
def game(network: ResidualNetwork, data: Dataset) -> Game:
    return Game(network, data)


def test_exact_values_are_means_over_all_orders(
    game: Game, network: ResidualNetwork, data: Dataset
) -> None:
    frame = ra.shapley(network, data)
    assert list(frame.columns)[:6] == CONTRACT
    assert frame.attrs["orders"] is None
    assert frame.attrs["over"] == "examples"
    values = sum(game.of_order(order) for order in permutations(range(6))) / factorial(6)
    np.testing.assert_allclose(frame["value"], values.mean(1), atol=1e-5)
    ends = np.array([bca(row) for row in values])
    np.testing.assert_allclose(frame[["value_low", "value_high"]], ends, atol=1e-5)
    assert (frame["se_orders"] == 0).all()
    for row in frame.to_dict("records"):
        alone = game.loss(frozenset([row["unit"]])) - game.loss(frozenset())
        assert row["damage"] == pytest.approx(alone.mean(), abs=1e-5)
        assert [row["damage_low"], row["damage_high"]] == pytest.approx(bca(alone), abs=1e-5)


@pytest.mark.parametrize("orders", [None, 6])
@pytest.mark.parametrize("by", ["loss", "error", "kl"])
def test_values_sum_to_what_deleting_all_units_adds(
    network: ResidualNetwork, data: Dataset, orders: int | None, by: str
) -> None:
    frame = ra.shapley(network, data, orders=orders, by=by)
    facts = frame.attrs
    assert frame["value"].sum() == pytest.approx(facts["all_removed"] - facts["intact"], abs=1e-9)
    if by != "kl":
        for name, gone in (("intact", []), ("all_removed", range(6))):
            expected = scores_without(network, data, gone)[by].mean()
            assert facts[name] == pytest.approx(expected, abs=1e-5)


def test_sampled_values_are_means_over_the_orders_drawn(
    game: Game, network: ResidualNetwork, data: Dataset
) -> None:
    frame = ra.shapley(network, data, orders=8, seed=3)
    generator = np.random.default_rng(3)
    drawn = [tuple(generator.permutation(6).tolist()) for _ in range(4)]
    pairs = np.stack([(game.of_order(o) + game.of_order(o[::-1])) / 2 for o in drawn])
    assert frame.attrs["orders"] == 8
    np.testing.assert_allclose(frame["value"], pairs.mean((0, 2)), atol=1e-5)
    np.testing.assert_allclose(frame["se_orders"], stats.sem(pairs.mean(2), axis=0), atol=1e-5)
    np.testing.assert_allclose(frame["se_examples"], stats.sem(pairs.mean(0), axis=1), atol=1e-5)
    assert (frame["value_low"] < frame["value"]).all()
    assert (frame["value"] < frame["value_high"]).all()
    other = ra.shapley(network, data, orders=8, seed=4)
    assert not np.allclose(frame["value"], other["value"])


def test_orders_give_the_exact_values_on_average(network: ResidualNetwork, data: Dataset) -> None:
    exact = ra.shapley(network, data)["value"]
    sampled = ra.shapley(network, data, orders=200, seed=1)
    wide = 4 * sampled["se_orders"]
    assert ((sampled["value"] - exact).abs() <= wide + 1e-9).all()


def test_a_branch_that_is_zero_is_worth_nothing(data: Dataset) -> None:
    model = cifar(14)
    with torch.no_grad():
        model.layer2[1].bn2.weight.zero_()  # type: ignore[index, union-attr]
        model.layer2[1].bn2.bias.zero_()  # type: ignore[index, union-attr]
    network = ra.unravel(model, data.batch(0, 2)[0])
    for orders in (None, 4):
        frame = ra.shapley(network, data, orders=orders).set_index("unit")
        assert frame.loc[3, "value"] == pytest.approx(0, abs=1e-5)


def test_it_runs_orders_until_they_are_enough(network: ResidualNetwork, data: Dataset) -> None:
    few = ra.shapley(network, data, orders=8)
    half = float(stats.t.ppf(0.975, 3) * few["se_orders"].max())
    frame = ra.shapley(network, data, orders=8, precision=half / 2)
    ran = frame.attrs["orders"]
    assert ran > 8
    assert stats.t.ppf(0.975, ran // 2 - 1) * frame["se_orders"].max() <= half / 2


def test_it_says_when_a_precision_is_out_of_reach(
    network: ResidualNetwork, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resanalysis.experiments.shapley.MOST_ORDERS", 16)
    with pytest.warns(UserWarning, match="after 16 orders the widest half-width over orders is"):
        frame = ra.shapley(network, data, orders=4, precision=1e-9)
    assert frame.attrs["orders"] == 16


def test_it_goes_on_from_its_store(network: ResidualNetwork, data: Dataset) -> None:
    kept = Kept()
    first = ra.shapley(network, data, orders=4, precision=0.5, store=kept)
    puts = kept.puts
    again = ra.shapley(network, data, orders=4, precision=0.5, store=kept)
    pd.testing.assert_frame_equal(again, first)
    assert kept.puts == puts > 0


def test_units_that_cannot_be_deleted_are_left_out_and_named(data: Dataset) -> None:
    network = ra.unravel(Plain(), data.batch(0, 2)[0], plain=True)
    frame = ra.shapley(network, data)
    assert frame["unit"].tolist() == [1]
    assert frame.attrs["left_out"] == [0]
    assert frame["value"].tolist() == pytest.approx(frame["damage"].tolist())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"by": "accuracy"}, "no value by 'accuracy'; there are loss, error, kl"),
        ({"orders": 7}, "give an even number of at least 4, got 7"),
        ({"orders": 2}, "give an even number of at least 4, got 2"),
        ({"precision": 0.0}, "a precision is a half-width above 0, got 0.0"),
    ],
)
def test_what_it_refuses(
    network: ResidualNetwork, data: Dataset, options: dict[str, object], text: str
) -> None:
    with pytest.raises(ra.ResanalysisError, match=text):
        ra.shapley(network, data, **options)


def test_without_labels_the_divergence_can_be_shared_out(network: ResidualNetwork) -> None:
    unlabelled = tiny_data(labelled=False)
    with pytest.raises(ra.ResanalysisError, match="the loss needs labels"):
        ra.shapley(network, unlabelled)
    assert ra.shapley(network, unlabelled, by="kl")["value"].sum() > 0
