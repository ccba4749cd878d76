"""What a notebook shows of a network, read back from the HTML and compared with the network."""

from __future__ import annotations

import html
import re
from dataclasses import replace

import torch
from torch import nn

from resanalysis.network import ResidualNetwork, ResidualUnit
from resanalysis.view import unravel
from tests.conftest import cifar


def chain(count: int, name: str = "block", **options: object) -> ResidualNetwork:
    one = nn.Identity()
    units = tuple(
        ResidualUnit(i, f"{name}.{i}", one, one, in_shape=(4,), out_shape=(4,), **options)  # type: ignore[arg-type]
        for i in range(count)
    )
    return ResidualNetwork(one, units, one, name=name)


def rows(page: str) -> list[list[str]]:
    found = re.findall(r"<tr>(.*?)</tr>", page)
    return [[html.unescape(c) for c in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in found][
        1:
    ]


def boxes(page: str) -> list[str]:
    return [html.unescape(title) for title in re.findall(r'<span title="(.*?)"', page)]


def test_the_chain_of_a_trained_network() -> None:
    network = unravel(cifar(14), torch.randn(2, 3, 16, 16), name="small")
    page = network._repr_html_()
    assert len(boxes(page)) == len(network) == 6
    table = rows(page)
    assert [row[0] for row in table] == ["0–1", "2", "3", "4", "5"]
    by_hand = [
        sum(u.parameters for u in network.units[:2]),
        *(u.parameters for u in network.units[2:]),
    ]
    assert [int(row[5].replace(",", "")) for row in table] == by_hand
    assert [row[2].endswith("transition") for row in table] == [False, True, False, True, False]
    assert table[1][4] == "4×16×16 → 8×8×8"
    assert repr(network) == (
        "<ResidualNetwork small: 6 units in 3 stages, 2 transitions; skips: 4 identity, 2 pad>"
    )
    assert "2<sup>6</sup> paths" in page


def test_a_bridge_and_a_layer_without_a_skip_are_marked() -> None:
    network = chain(4)
    plain = replace(network.units[3], skip_kind="none")
    network = replace(
        network, units=(*network.units[:3], plain), bridges=(None, None, nn.Identity(), None)
    )
    page = network._repr_html_()
    assert boxes(page)[2] == "plain layers before unit 2"
    assert [row[0] for row in rows(page)] == ["0–1", "2", "3"]
    assert page.count("1px dashed") == 1
    assert "2<sup>3</sup> paths" in page


def test_names_are_escaped() -> None:
    bad = "<script>alert(1)</script>\"'\x1b[31m"
    page = chain(2, bad)._repr_html_()
    assert "<script" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r'title="[^"]*"[^ >]', page)


def test_thousands_of_units_stay_small() -> None:
    alike = chain(5000)
    assert len(alike._repr_html_()) < 2000
    assert boxes(alike._repr_html_()) == ["0–4999 block.0 … block.4999: identity, 4"]
    kinds = ("identity", "map")
    units = tuple(
        replace(unit, name="n" * 500, skip_kind=kinds[unit.index % 2]) for unit in alike.units
    )
    page = replace(alike, units=units)._repr_html_()
    assert len(page) < 60_000
    assert "4900 more" in page
    assert "4976 more rows" in page
