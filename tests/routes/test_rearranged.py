"""Middles by hand, and rearrangements of a chain whose shapes are known."""

from __future__ import annotations

import itertools

import pytest

from resanalysis.routes.rearranged import KINDS, middle, middles, movable_runs, rearrangements
from resanalysis.routes.route import Bridge, Full, Parallel, SkipOnly
from tests.routes.test_route import chain

# Runs of 4, 3 and 2 units; unit 4 changes the shape, a bridge stands before unit 8.
NETWORK = chain([(4, 4)] * 4 + [(4, 6)] + [(6, 6)] * 5, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2], bridge_at=8)
RUNS = ((0, 1, 2, 3), (5, 6, 7), (8, 9))


def test_runs_end_at_transitions_and_bridges() -> None:
    assert movable_runs(NETWORK) == RUNS
    assert movable_runs(NETWORK, stage=1) == ((5, 6, 7),)
    with pytest.raises(ValueError, match=r"stage 3 of network has no two units .* have: 0, 1, 2"):
        movable_runs(NETWORK, stage=3)


def test_every_run_keeps_as_many_units() -> None:
    assert middles(RUNS) == {
        1: ((2,),),
        3: ((1, 2), (6,)),
        6: ((1, 2, 3), (6, 7), (9,)),
        9: RUNS,
    }
    assert list(middles(RUNS)) == [1, 3, 6, 9]


def test_middles_are_symmetric_about_the_centre() -> None:
    for length, outer in itertools.product(range(2, 12), range(6)):
        run = tuple(range(length))
        inside = run[outer : length - outer]
        assert middle((run,), 2 * outer) == ((inside,) if inside else ())
        if len(inside) > 1:  # an odd number of kept units: one more of them at the beginning
            assert middle((run,), 2 * outer + 1) == (inside[1:],)
            assert length // 2 in inside[1:]
    # 32 layers with N = 2: 0 to 2 and 30, 31 stay, as in the published code.
    assert middle((tuple(range(32)),), 5) == (tuple(range(3, 30)),)


def test_routes_by_hand() -> None:
    spans = [middles(RUNS)[6]]
    found = {
        one.kind: one
        for one in rearrangements(NETWORK, KINDS[:-1], spans, RUNS, draws=1, loops=4, seed=0)
    }
    for kind in ("skip", "parallel", "looped"):
        assert found[kind].units == (1, 2, 3, 6, 7, 9)
    assert found["reverse"].units == (1, 3, 6, 7)  # 2 and 9 are where they were
    assert found["repeat"].units == (1, 3, 7)
    assert all(one.size == 6 for one in found.values())
    assert found["skip"].route.steps == (
        Full(0), SkipOnly(1), SkipOnly(2), SkipOnly(3), Full(4), Full(5), SkipOnly(6), SkipOnly(7),
        Bridge(8), Full(8), SkipOnly(9),
    )  # fmt: skip
    assert found["reverse"].order == (0, 3, 2, 1, 4, 5, 7, 6, 8, 9)
    assert found["repeat"].order == (0, 2, 2, 2, 4, 5, 6, 6, 8, 9)
    for kind, loops in (("parallel", 1), ("looped", 4)):
        assert found[kind].order is None
        assert found[kind].route.steps == (
            Full(0), Parallel((1, 2, 3), loops), Full(4), Full(5), Parallel((6, 7), loops),
            Bridge(8), Full(8), Parallel((9,), loops),
        )  # fmt: skip
    for one in found.values():
        if one.order is not None:
            assert [s.unit for s in one.route.steps if isinstance(s, Full)] == list(one.order)


def test_swaps_are_every_pair_of_neighbours() -> None:
    swaps = list(rearrangements(NETWORK, ["swap"], [], RUNS, draws=1, loops=1, seed=0))
    assert [one.units for one in swaps] == [(0, 1), (1, 2), (2, 3), (5, 6), (6, 7), (8, 9)]
    assert swaps[3].order == (0, 1, 2, 3, 4, 6, 5, 7, 8, 9)


def test_orders_of_a_draw_agree_where_middles_overlap() -> None:
    network = chain([(4, 4)] * 9, [0] * 9)
    runs = movable_runs(network)
    small, large = middles(runs)[5], middles(runs)[9]
    shuffled = list(
        rearrangements(network, ["shuffle"], [small, large], runs, draws=20, loops=1, seed=3)
    )
    inner, outer = shuffled[:20], shuffled[20:]
    assert [one.draw for one in shuffled] == [*range(20), *range(20)]
    assert len({one.order for one in outer}) == 20
    agreeing = 0
    for a, b in zip(inner, outer, strict=True):
        assert a.order is not None
        assert b.order is not None
        agreeing += [u for u in b.order if u in small[0]] == list(a.order[2:7])
    # A draw whose order another one had already was drawn anew.
    assert agreeing >= 16
    assert len({one.order for one in inner}) == 20
