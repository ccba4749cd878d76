"""Headline numbers against tables whose answer is known."""

from __future__ import annotations

from math import comb

import pandas as pd

from resanalysis.figures.headlines import headlines


def test_lesion() -> None:
    table = pd.DataFrame(
        {
            "unit": [-1, 0, 1, 2],
            "name": ["intact", "a", "b", "c"],
            "transition": [False, False, True, False],
            "error": [0.1, 0.11, 0.5, float("nan")],
            "error_low": [0.08, 0.1, 0.4, float("nan")],
            "error_high": [0.12, 0.12, 0.6, float("nan")],
            "delta": [0.0, 0.01, 0.4, float("nan")],
            "delta_low": [0.0, -0.01, 0.35, float("nan")],
            "delta_high": [0.0, 0.03, 0.45, float("nan")],
            "p_holm": [float("nan"), 0.6, 1e-9, float("nan")],
        }
    )
    assert headlines("lesion", table) == [
        ("intact error", "10.00 %  (95 %: 8.00 to 12.00)"),
        ("median, one unit deleted", "30.50 %"),
        ("units that change it (Holm, 5 %)", "1 of 2"),
        ("without 1 (b, transition)", "50.00 %  (+40.00 points: +35.00 to +45.00)"),
        ("without 0 (a)", "11.00 %  (+1.00 points: -1.00 to +3.00)"),
    ]


def test_lesion_many() -> None:
    table = pd.DataFrame(
        {
            "removed": [1, 1, 2, 2, 1],
            "error": [0.1, 0.3, 0.5, 0.9, 0.15],
            "intact_error": [0.1] * 5,
            "transitions_eligible": [True] * 4 + [False],
        }
    )
    assert headlines("lesion_many", table) == [
        ("intact error", "10.00 %"),
        ("1 deleted", "median 20.00 %  (quartiles 15.00 to 25.00; 2 draws)"),
        ("2 deleted", "median 70.00 %  (quartiles 60.00 to 80.00; 2 draws)"),
        ("1 deleted, no transitions", "median 15.00 %  (quartiles 15.00 to 15.00; 1 draws)"),
    ]


def test_reorder() -> None:
    table = pd.DataFrame(
        {"swaps": [0, 1, 2, 3], "kendall_tau": [1, 0.9, 0.8, 0.7], "error": [0.1, 0.2, 0.4, 0.3]}
    )
    assert headlines("reorder", table) == [
        ("intact error", "10.00 %"),
        ("orders", "3"),
        ("Kendall tau", "0.700 to 0.900"),
        ("error", "20.00 % to 40.00 %"),
        ("rank correlation of error and tau (Spearman)", "-0.500"),
    ]


def test_paths_of_the_110_layer_network() -> None:
    counts = [comb(54, length) for length in range(55)]
    table = pd.DataFrame(
        {
            "length": range(55),
            "count": pd.Series(counts, dtype=object),
            "probability": [count / 2**54 for count in counts],
        }
    )
    found = dict(headlines("paths", table))
    assert found == {
        "units": "54",
        "paths": "2^54 = 18014398509481984",
        "mean length": "27 units",
        "95 % of paths": "20 to 34 units (they hold 95.98 %)",
        "P(19 ≤ length ≤ 35)": "0.98017",
        "P(5 ≤ length ≤ 17)": "0.0045367",
    }


def test_inspect() -> None:
    table = pd.DataFrame(
        {
            "unit": [0, 1, 2],
            "name": ["a", "b", "c"],
            "stage": [0, 1, 1],
            "transition": [False, True, False],
            "skip": ["identity", "pad", "identity"],
            "parameters": [1000, 2000, 3000],
        }
    )
    assert headlines("inspect", table) == [
        ("units", "3"),
        ("paths", "2^3"),
        ("stages", "2"),
        ("skips", "2 identity, 1 pad"),
        ("transitions", "1 (b)"),
        ("parameters in units", "6,000"),
    ]


def test_an_unknown_table_tells_its_size() -> None:
    assert headlines("else", pd.DataFrame({"a": [1, 2]})) == [("rows", "2")]


def test_lesion_of_a_language_model() -> None:
    table = pd.DataFrame(
        {
            "unit": [-1, 0, 1],
            "name": ["intact", "a", "b"],
            "transition": [False, False, False],
            "error": [0.5, 0.6, 0.7],
            "error_low": [0.4, 0.5, 0.6],
            "error_high": [0.6, 0.7, 0.8],
            "delta": [0.0, 0.1, 0.2],
            "delta_low": [0.0, 0.0, 0.1],
            "delta_high": [0.0, 0.2, 0.3],
            "p_holm": [1.0, 0.6, 1e-9],
            "perplexity": [21.25, 40.0, 1234.5],
            "perplexity_low": [20.0, 35.0, float("nan")],
            "perplexity_high": [23.0, 45.0, float("nan")],
        }
    )
    assert headlines("lesion", table)[1:4] == [
        ("intact perplexity", "21.25  (95 %: 20 to 23)"),
        ("median perplexity, one unit deleted", "637.2"),
        ("perplexity without 1 (b)", "1234"),
    ]
