"""What a notebook shows of a route, read back from the HTML."""

from __future__ import annotations

from torch import nn

from resanalysis.network import ResidualNetwork
from resanalysis.routes.route import (
    Full,
    Route,
    cut_skip,
    intact,
    parallel,
    placed,
    scaled,
    swapped,
    without,
)
from tests.network.test_shown import boxes, chain, rows


def network(units: int = 6) -> ResidualNetwork:
    return chain(units)


def test_each_way_of_running_a_unit_has_its_row() -> None:
    assert rows(intact(network())._repr_html_()) == [["0–5", "0–5", "whole"]]
    for route, what in (
        (without(network(), [2]), "skip only"),
        (cut_skip(network(), [2]), "branch only"),
        (scaled(network(), {2: 0.5}), "branch × 0.5"),
    ):
        page = route._repr_html_()
        assert rows(page) == [["0–1", "0–1", "whole"], ["2", "2", what], ["3–5", "3–5", "whole"]]
        assert f"5 whole, 1 {what}" in page
        assert boxes(page)[2] == f"position 2: unit 2, {what}"


def test_units_that_changed_places_are_said_to() -> None:
    page = swapped(network(), [(1, 3)])._repr_html_()
    assert rows(page) == [
        ["0", "0", "whole"],
        ["1", "3", "whole, moved"],
        ["2", "2", "whole"],
        ["3", "1", "whole, moved"],
        ["4–5", "4–5", "whole"],
    ]
    assert "2 out of place" in page


def test_units_in_parallel_keep_the_positions_behind_them() -> None:
    page = parallel(network(), [(0, 1), (2, 3, 4)], loops=3)._repr_html_()
    what = "in parallel, 3 times"
    assert rows(page) == [["0–1", "0–1", what], ["2–4", "2–4", what], ["5", "5", "whole"]]


def test_a_bridge_is_a_bar_and_no_position() -> None:
    bridged = ResidualNetwork(
        nn.Identity(),
        network().units,
        nn.Identity(),
        bridges=(None,) * 3 + (nn.Identity(),) + (None,) * 2,
    )
    page = intact(bridged)._repr_html_()
    assert boxes(page)[3] == "plain layers before position 3"
    assert rows(page) == [["0–5", "0–5", "whole"]]


def test_thousands_of_steps_stay_small() -> None:
    assert len(intact(network(5000))._repr_html_()) < 30_000
    turned = placed(network(5000), list(reversed(range(5000))))
    page = turned._repr_html_()
    assert len(page) < 40_000
    assert "5000 out of place" in page
    assert len(rows(page)) == 25


def test_no_steps_at_all() -> None:
    assert "Route of 0 steps" in Route(())._repr_html_()
    assert rows(Route((Full(0),))._repr_html_()) == [["0", "0", "whole"]]
