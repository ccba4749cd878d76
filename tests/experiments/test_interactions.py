"""Interactions against a loop over single passes, and where they must be zero."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

import resanalysis as ra
from resanalysis.datasets import Dataset
from resanalysis.network import ResidualNetwork
from resanalysis.statistics.sign_flip import sign_flip_p
from tests.experiments.one_by_one import Kept, Plain, scores_without, tiny_data, tiny_network
from tests.reference import bca

CONTRACT = [
    "unit_a", "unit_b", "damage_a", "damage_b", "damage_ab", "interaction", "interaction_low",
    "interaction_high", "p_value", "p_fdr",
]  # fmt: skip


@pytest.fixture(scope="module")
def data() -> Dataset:
    return tiny_data()


@pytest.fixture(scope="module")
def network(data: Dataset) -> ResidualNetwork:
    return tiny_network(data)


@pytest.fixture(scope="module")
def frame(network: ResidualNetwork, data: Dataset) -> pd.DataFrame:
    return ra.interactions(network, data)


def test_table_equals_a_loop_over_single_passes(
    frame: pd.DataFrame, network: ResidualNetwork, data: Dataset
) -> None:
    assert list(frame.columns)[:10] == CONTRACT
    pairs = list(combinations(range(6), 2))
    assert list(zip(frame["unit_a"], frame["unit_b"], strict=True)) == pairs
    whole = scores_without(network, data, [])
    for score, prefix, sign in (("loss", "", 1), ("margin", "margin_", -1), ("error", "error_", 1)):
        p_values = []
        for row in frame.to_dict("records"):
            a, b = row["unit_a"], row["unit_b"]
            of_a, of_b, both = (
                sign * (scores_without(network, data, gone)[score] - whole[score])
                for gone in ([a], [b], [a, b])
            )
            joint = both - of_a - of_b
            for name, values in (
                ("damage_a", of_a), ("damage_b", of_b), ("damage_ab", both), ("interaction", joint)
            ):  # fmt: skip
                assert row[prefix + name] == pytest.approx(values.mean(), abs=2e-5)
            if stats.sem(joint):
                ends = [row[f"{prefix}interaction_low"], row[f"{prefix}interaction_high"]]
                assert ends == pytest.approx(bca(joint), abs=2e-5)
            p_values.append(sign_flip_p(joint[:, None])[0])
        # Rounding may move a single flip across the observed sum.
        np.testing.assert_allclose(frame[f"{prefix}p_value"], p_values, atol=3e-4)
        np.testing.assert_allclose(
            frame[f"{prefix}p_fdr"], stats.false_discovery_control(frame[f"{prefix}p_value"])
        )


def test_it_says_which_units_these_are(frame: pd.DataFrame, network: ResidualNetwork) -> None:
    for row in frame.to_dict("records"):
        for end in "ab":
            unit = network.units[row[f"unit_{end}"]]
            assert (row[f"name_{end}"], row[f"stage_{end}"]) == (unit.name, unit.stage)
        assert row["distance"] == row["unit_b"] - row["unit_a"]


def test_the_summary_is_of_the_table(frame: pd.DataFrame) -> None:
    facts = frame.attrs
    for score, prefix in (("loss", ""), ("margin", "margin_"), ("error", "error_")):
        found = facts["explained"][score]
        both = frame[f"{prefix}damage_ab"]
        left = frame[f"{prefix}interaction"]
        assert found["mean"] == pytest.approx(
            1 - (left**2).sum() / ((both - both.mean()) ** 2).sum()
        )
        assert found["low"] <= found["high"]
        assert found["size"] == pytest.approx(left.abs().sum() / both.abs().sum())
        some = (frame[["unit_a", "unit_b"]] != found["largest"]).all(axis=1)
        rest = both[some]
        assert found["others"] == pytest.approx(
            1 - (left[some] ** 2).sum() / ((rest - rest.mean()) ** 2).sum()
        )
    singles = frame.groupby("unit_a")["damage_a"].first()
    last = frame["damage_b"].iloc[-1]
    worst = singles.abs().idxmax() if singles.abs().max() >= abs(last) else 5
    assert facts["explained"]["loss"]["largest"] == worst
    ordered = frame.sort_values("interaction")
    for name, row in (("synergistic", ordered.iloc[0]), ("redundant", ordered.iloc[-1])):
        first = facts[name][0]
        assert (first["unit_a"], first["unit_b"]) == (row["unit_a"], row["unit_b"])
    for by, columns in (("by_distance", ["distance"]), ("by_stage", ["stage_a", "stage_b"])):
        assert sum(row["pairs"] for row in facts[by]) == 15
        for row in facts[by]:
            some = (frame[columns] == [row[column] for column in columns]).all(axis=1)
            assert row["mean_abs"] == pytest.approx(frame.loc[some, "interaction"].abs().mean())
            assert row["mean"] == pytest.approx(frame.loc[some, "interaction"].mean())


class Writers(nn.Module):
    """Four units that add to the second half of the stream what they make of a part of it."""

    def __init__(self, reads: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.reads = reads
        self.stem = nn.Linear(3 * 8 * 8, 8)
        self.units = nn.ModuleList(nn.Linear(reads, 4) for _ in range(4))
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x.flatten(1))
        for unit in self.units:
            h = h + F.pad(torch.tanh(3 * unit(h[:, : self.reads])), (4, 0))
        return self.head(h)


def test_units_that_do_not_read_each_other_do_not_interact_in_the_margin() -> None:
    data = tiny_data(classes=2)  # of two classes the margin is linear in the logits

    def largest(reads: int, column: str) -> float:
        network = ra.unravel(Writers(reads).eval(), data.batch(0, 2)[0])
        assert len(network) == 4
        return float(ra.interactions(network, data)[column].abs().max())

    assert largest(4, "margin_damage_ab") > 0.05
    assert largest(4, "margin_interaction") < 1e-5
    assert largest(4, "interaction") > 1e-3  # the loss is no linear readout
    assert largest(8, "margin_interaction") > 1e-2  # these read what the others wrote


def test_a_branch_that_is_zero_interacts_with_none(data: Dataset) -> None:
    from tests.conftest import cifar

    model = cifar(14)
    with torch.no_grad():
        model.layer2[1].bn2.weight.zero_()  # type: ignore[index, union-attr]
        model.layer2[1].bn2.bias.zero_()  # type: ignore[index, union-attr]
    frame = ra.interactions(ra.unravel(model, data.batch(0, 2)[0]), data)
    none = frame.loc[(frame["unit_a"] == 3) | (frame["unit_b"] == 3)]
    assert len(none) == 5
    for prefix in ("", "margin_", "error_"):
        np.testing.assert_allclose(none[f"{prefix}interaction"], 0, atol=1e-5)


def test_it_goes_on_from_its_store(
    frame: pd.DataFrame, network: ResidualNetwork, data: Dataset
) -> None:
    kept = Kept()
    first = ra.interactions(network, data, store=kept)
    puts = kept.puts
    pd.testing.assert_frame_equal(ra.interactions(network, data, store=kept), first)
    assert kept.puts == puts > 0
    pd.testing.assert_frame_equal(first, frame)


def test_what_it_refuses(network: ResidualNetwork) -> None:
    unlabelled = tiny_data(labelled=False)
    with pytest.raises(ra.ResanalysisError, match="has no labels, and interactions are of losses"):
        ra.interactions(network, unlabelled)
    data = tiny_data()
    plain = ra.unravel(Plain(), data.batch(0, 2)[0], plain=True)
    with pytest.raises(
        ra.ResanalysisError, match="an interaction is of two units: 1 of Plain can be deleted"
    ):
        ra.interactions(plain, data)
