"""Exact counts against enumeration of all paths, and the paper's numbers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction

import pytest
from torch import nn

from resanalysis.experiments.paths import paths, paths_remaining
from resanalysis.network import ResidualNetwork, ResidualUnit
from resanalysis.statistics.path_length import (
    central_interval,
    linear_survival,
    parsed_survival,
    path_counts,
    path_probabilities,
    remaining_fraction,
    surviving_probabilities,
    units_of_depth,
)


def share_between(probabilities: Sequence[Fraction | float], low: int, high: int) -> float:
    """Probability of a length from ``low`` to ``high``, both counted in."""
    return float(sum(probabilities[max(0, low) : high + 1]))


@pytest.mark.parametrize("units", [1, 2, 5, 8])
def test_counts_equal_enumeration(units: int) -> None:
    lengths = [sum(path) for path in itertools.product((0, 1), repeat=units)]
    assert path_counts(units) == [lengths.count(k) for k in range(units + 1)]


def test_published_shares_of_the_110_layer_network() -> None:
    """Veit et al. 2016, §5.1: 19 to 35; §5.3: 0.45 % of paths have 5 to 17."""
    probabilities = path_probabilities(units_of_depth(110))
    assert share_between(probabilities, 19, 35) == pytest.approx(0.98017, abs=5e-6)
    assert share_between(probabilities, 5, 17) == pytest.approx(0.0045367, abs=5e-8)
    assert central_interval(probabilities) == (20, 34)
    assert share_between(probabilities, 20, 34) == pytest.approx(0.95978, abs=5e-6)


def test_depths() -> None:
    assert [units_of_depth(d) for d in (20, 56, 110, 1202)] == [9, 27, 54, 600]
    assert units_of_depth(164, "bottleneck") == 54
    with pytest.raises(
        ValueError, match=r"no CIFAR ResNet of basic blocks has 111 layers: .* 110 and 116"
    ):
        units_of_depth(111)


def test_the_central_interval_is_the_shortest() -> None:
    probabilities = path_probabilities(9)
    low, high = central_interval(probabilities, 0.9)
    assert share_between(probabilities, low, high) >= 0.9
    for start in range(10):
        assert share_between(probabilities, start, start + high - low - 1) < 0.9


def test_stochastic_depth_equals_enumeration() -> None:
    survival = [1.0, 0.5, 0.8, 0.3]
    expected = [0.0] * 5
    for path in itertools.product((0, 1), repeat=4):
        chance = 1.0
        for taken, p in zip(path, survival, strict=True):
            chance *= p / 2 if taken else 1 - p / 2
        expected[sum(path)] += chance
    assert surviving_probabilities(survival) == pytest.approx(expected)
    assert surviving_probabilities([1.0] * 6) == pytest.approx(
        [float(p) for p in path_probabilities(6)]
    )
    with pytest.raises(ValueError, match=r"lies in \[0, 1\], got -0.1"):
        surviving_probabilities([-0.1])


def test_linear_survival_keeps_the_published_mean() -> None:
    """Huang et al. 2016, §3: (3L − 1) / 4 = 40.25 of 54 units are active on average."""
    assert sum(linear_survival(54, 0.5)) == pytest.approx((3 * 54 - 1) / 4)


def test_table_is_exact_for_1202_layers() -> None:
    frame = paths(depth=1202)
    assert frame["count"].iloc[300] == path_counts(600)[300]
    assert isinstance(frame["count"].iloc[300], int)
    assert sum(frame["count"]) == 2**600
    assert frame["probability"].sum() == pytest.approx(1.0)


def test_table_and_its_facts() -> None:
    frame = paths(units=4)
    assert list(frame.columns)[:3] == ["length", "count", "probability"]
    assert frame["count"].tolist() == [1, 4, 6, 4, 1]
    assert frame["cumulative"].tolist() == [0.0625, 0.3125, 0.6875, 0.9375, 1.0]
    assert frame.attrs["mean"] == 2.0
    with pytest.raises(ValueError, match="name one of a model, a depth and a number of units"):
        paths(depth=110, units=4)
    with pytest.raises(ValueError, match="at least one unit, got 0"):
        paths(units=0)
    with pytest.raises(ValueError, match="2 survival probabilities for 4 units"):
        paths(units=4, survival=[0.5, 0.5])


def test_each_deletion_halves_the_paths() -> None:
    assert remaining_fraction(3) == Fraction(1, 8)
    frame = paths_remaining(54, deleted=3)
    assert frame["residual"].tolist() == [1.0, 0.5, 0.25, 0.125]
    assert frame["plain"].tolist() == [1.0, 0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="5 of 4 units cannot be deleted"):
        paths_remaining(4, deleted=5)


def test_survival_as_text() -> None:
    assert parsed_survival("linear:0.5", 4) == linear_survival(4, 0.5) == [0.875, 0.75, 0.625, 0.5]
    assert parsed_survival("uniform:0.8", 3) == [0.8] * 3
    frame = paths(units=54, survival="linear:0.5")
    assert frame.attrs["mean"] == pytest.approx((3 * 54 - 1) / 8)
    assert frame["probability"].sum() == pytest.approx(1.0)
    assert paths(units=5, survival="uniform:1")["probability"].tolist() == pytest.approx(
        paths(units=5)["probability"].tolist()
    )
    message = r"a survival is linear:P or uniform:P with P in \[0, 1\], got '{}'"
    for text in ("linear", "linear:2", "steps:0.5"):
        with pytest.raises(ValueError, match=message.format(text)):
            paths(units=4, survival=text)


def test_deleting_units_leaves_the_paths_around_them() -> None:
    frame = paths(units=6, deleted=2)
    left = [path for path in itertools.product((0, 1), repeat=6) if not (path[1] or path[4])]
    lengths = [sum(path) for path in left]
    assert frame["count"].tolist() == [lengths.count(k) for k in range(5)]
    assert frame.attrs["fraction_left"] == len(left) / 2**6
    with pytest.raises(ValueError, match="6 of 6 units cannot be deleted and leave paths to count"):
        paths(units=6, deleted=6)
    with pytest.raises(ValueError, match="give the survival of the units that are left"):
        paths(units=6, deleted=1, survival="linear:0.5")


def test_a_network_without_skips_has_one_path() -> None:
    layer = ResidualUnit(0, "0", nn.Identity(), nn.Linear(2, 2), skip_kind="none")
    plain = ResidualNetwork(nn.Identity(), (layer,), nn.Identity(), name="vgg")
    with pytest.raises(
        ValueError, match="vgg has no skips: its one path goes through all 1 layers"
    ):
        paths(plain)
    unit = ResidualUnit(1, "1", nn.Identity(), nn.Linear(2, 2))
    mixed = ResidualNetwork(nn.Identity(), (layer, unit), nn.Identity())
    assert paths(mixed)["count"].tolist() == [1, 1]
