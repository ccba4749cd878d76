"""Counts of parameters and operations against a sum over the layers, stem and head included."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import resanalysis as ra
from resanalysis.experiments.inspect import inspect, inspect_parts
from resanalysis.network import ResidualNetwork, ResidualUnit


class Small(nn.Module):
    """Stem of 3 → 4 channels, two units of 4, a classifier of 5."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.one, self.two = (nn.Conv2d(4, 4, 3, padding=1, bias=False) for _ in range(2))
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        h = h + self.one(torch.relu(h))
        h = h + self.two(torch.relu(h))
        return self.head(h.mean((2, 3)))


# Multiply-adds of a convolution: kernel × channels in × channels out × positions of 8 × 6.
STEM, UNIT, HEAD = 9 * 3 * 4 * 48, 9 * 4 * 4 * 48, 4 * 5


@pytest.fixture(scope="module")
def network() -> ResidualNetwork:
    return ra.unravel(Small().eval(), torch.randn(3, 3, 8, 6))


def test_every_part_is_a_row_with_its_costs(network: ResidualNetwork) -> None:
    table = inspect_parts(network, torch.randn(3, 3, 8, 6))
    assert list(table["part"]) == ["stem", "unit0", "unit1", "head"]
    assert list(table["macs"]) == [STEM, UNIT, UNIT, HEAD]
    assert list(table["flops"]) == [2 * STEM, 2 * UNIT, 2 * UNIT, 2 * HEAD]
    assert list(table["parameters"]) == [9 * 3 * 4 + 4, 144, 144, 25]
    assert table["parameters"].sum() == sum(p.numel() for p in Small().parameters())


def test_the_table_of_units_has_units_only(network: ResidualNetwork) -> None:
    table = inspect(network, torch.randn(2, 3, 8, 6))
    assert list(table["unit"]) == [0, 1]
    assert list(table["macs"]) == [UNIT, UNIT]
    assert list(table.columns[:9]) == [
        "unit", "name", "stage", "transition", "skip", "join", "in_shape", "out_shape", "parameters",
    ]  # fmt: skip
    assert [(part["part"], part["macs"]) for part in table.attrs["parts"]] == [
        ("stem", STEM), ("head", HEAD),
    ]  # fmt: skip


def test_without_an_example_the_stem_is_not_counted(network: ResidualNetwork) -> None:
    table = inspect_parts(network)
    assert table["macs"].iloc[0] is None
    assert list(table["macs"].iloc[1:]) == [UNIT, UNIT, HEAD]
    pd.testing.assert_frame_equal(
        inspect(network), inspect(network, torch.randn(1, 3, 8, 6)), check_dtype=False
    )


def test_a_bridge_is_a_row_before_its_unit() -> None:
    units = tuple(
        ResidualUnit(index, f"u{index}", nn.Identity(), nn.Linear(size, size), in_shape=(size,),
                     out_shape=(size,), parameters=size * size + size)
        for index, size in enumerate((4, 6))
    )  # fmt: skip
    network = ResidualNetwork(
        nn.Linear(3, 4), units, nn.Linear(6, 2), bridges=(None, nn.Linear(4, 6))
    )
    for example in (torch.randn(5, 3), None):
        table = inspect_parts(network, example)
        assert list(table["part"]) == ["stem", "unit0", "bridge1", "unit1", "head"]
        assert list(table["macs"])[1:] == [16, 24, 36, 12]
