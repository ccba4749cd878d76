"""Headline numbers against tables whose answer is known."""

from __future__ import annotations

from importlib import import_module
from math import comb

import pandas as pd
import pytest

from resanalysis.experiments import EXPERIMENTS
from resanalysis.figures.headlines import headlines
from resanalysis.figures.tables.stream import findings


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
    stopped = table.assign(seen=[2000, 128, 2000, 0])
    assert headlines("lesion", stopped)[1] == ("examples until it was known", "128 to 2,000")
    stopped["needed"] = ["", "most", *["open"] * (len(stopped) - 2)]
    stopped.attrs["top"] = 2
    assert headlines("lesion", stopped)[2:4] == [
        ("units needed most (95 % for all together)", "0 (1 more not known)"),
        ("units needed least (95 % for all together)", "none (2 more not known)"),
    ]
    stopped.attrs["unit_evaluations_saved"] = 0.25
    assert headlines("lesion", stopped)[1][1] == "128 to 2,000; 25.00 % of the work saved"


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
        ("chain", "3 units, 2^3 paths"),
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


def chain(skips: list[str]) -> pd.DataFrame:
    n = len(skips)
    return pd.DataFrame(
        {"unit": range(n), "name": "u", "stage": 0, "transition": False, "skip": skips, "parameters": 10,
         "flops": 200, "macs": 100}
    )  # fmt: skip


def test_a_plain_chain_has_one_path() -> None:
    assert headlines("inspect", chain(["none"] * 19)) == [
        ("chain", "19 layers, one path"),
        ("stages", "1"),
        ("parameters in units", "190"),
        ("operations of the units, one example", "3800 FLOPs, 1900 MACs"),
    ]
    mixed = dict(headlines("inspect", chain(["identity", "none", "identity"])))
    assert mixed["chain"] == "2 units and 1 plain layer, 2^2 paths"


def test_inspect_counts_stem_and_head() -> None:
    table = chain(["identity"])
    table.attrs["parts"] = [
        {"part": "stem", "parameters": 7, "flops": 20},
        {"part": "bridge0", "parameters": 5, "flops": 4},
        {"part": "head", "parameters": 1000, "flops": 6},
    ]
    found = dict(headlines("inspect", table))
    assert found["parameters in stem"] == "7"
    assert found["parameters in head"] == "1,000"
    assert found["operations of the whole network, one example"] == "230 FLOPs, 115 MACs"
    table.attrs["parts"][0]["flops"] = None
    assert "operations of the whole network, one example" not in dict(headlines("inspect", table))


def test_gradients() -> None:
    table = pd.DataFrame({"length": range(4)})
    assert headlines("gradients", table) == [("lengths", "4")]
    table.attrs = {
        "effective_exact": (4, 11), "mean_length_exact": 7.218, "peak_exact": 7,
        "decay_mean": (0.4, 0.35, 0.451), "uncertain_lengths": [9, 12],
    }  # fmt: skip
    assert headlines("gradients", table) == [
        ("effective lengths, exact sum", "4 to 11 units hold 95 %"),
        ("mean length, exact sum", "7.22 units, peak at 7"),
        ("mean norm per unit entered", "× 0.400 (95 %: 0.350 to 0.451)"),
        ("lengths whose mean is uncertain", "9 12"),
    ]


def test_unit_share() -> None:
    rows = [
        {"unit": unit, "name": f"u{unit}", "length": length, "share": share / 2}
        for unit, share in ((0, 0.1), (1, 0.5), (2, 0.3), (3, 0.4))
        for length in (0, 1)
    ]
    table = pd.DataFrame(rows)
    assert headlines("unit_share", table) == [
        ("gradient through unit 1 (u1)", "50.00 %"),
        ("gradient through unit 3 (u3)", "40.00 %"),
        ("gradient through unit 2 (u2)", "30.00 %"),
    ]
    table = table.assign(total_low=0.125, total_high=0.75)
    assert headlines("unit_share", table)[0] == (
        "gradient through unit 1 (u1)",
        "50.00 %  (95 %: 12.50 to 75.00)",
    )


def test_response() -> None:
    table = pd.DataFrame(
        {"model": "net", "layer": [1, 2, 3, 4, -1], "name": list("abcde"), "kind": "3x3",
         "std": [1.0, 3.0, 2.0, 0.5, float("nan")], "batch_norm": [True, True, True, False, False]}
    )  # fmt: skip
    table.attrs["distance"] = [
        {"model": "net", "net": "Net", "order": "orig", "median_ratio": 1.5, "rms_log_ratio": 0.25,
         "correlation": 0.75, "layers": 3}
    ]  # fmt: skip
    assert headlines("response", table) == [
        ("net, after batch norm", "3 layers, median std 2, largest 3 (layer 2, b)"),
        ("net, no batch norm", "1 layers, median std 0.5, largest 0.5 (layer 4, d)"),
        ("net: never ran", "e"),
        (
            "net against Net, layers",
            "median ratio 1.50, rms log ratio 0.25, correlation 0.75  (3 layers)",
        ),
    ]
    assert headlines("response", table.iloc[4:]) == [("net", "no layer ran"),
                                                     headlines("response", table)[-1]]  # fmt: skip


def test_stream() -> None:
    table = pd.DataFrame(
        {"name": list("abcd"), "ratio": [0.5, 0.25, 1.0, float("nan")],
         "influence": [0.3, float("nan"), 0.1, 0.2]}
    )  # fmt: skip
    table.attrs["predicts"] = [
        {"measure": name, "method": method, "damage": "loss", "correlation": value,
         "correlation_low": value - 0.1, "correlation_high": value + 0.1, "units": 4}
        for method in ("kendall", "spearman")
        for name, value in (("ratio", 0.5), ("influence", -0.75), ("cosine", 0.0), ("gate", 0.25))
    ]  # fmt: skip
    assert headlines("stream", table) == [
        ("branch / skip norm", "0.25 to 1, median 0.5"),
        ("least influence", "2 (c: 0.1), 3 (d: 0.2), 0 (a: 0.3)"),
        ("influence with damage (loss)", "Spearman -0.75  (-0.85 to -0.65; 4 units)"),
        ("ratio with damage (loss)", "Spearman +0.50  (+0.40 to +0.60; 4 units)"),
        ("gate with damage (loss)", "Spearman +0.25  (+0.15 to +0.35; 4 units)"),
    ]
    few = {
        "measure": "ratio",
        "method": "spearman",
        "damage": "loss",
        "correlation": 0.5,
        "units": 3,
    }
    for none in (float("nan"), None):  # of three units; as measured, and as read back
        table.attrs["predicts"] = [few | {"correlation_low": none, "correlation_high": none}]
        assert headlines("stream", table)[2][1] == "Spearman +0.50  (no interval; 3 units)"
        (finding,) = findings(table)
        assert finding.evidence.startswith("no interval over 3 units")


def test_rearrange() -> None:
    table = pd.DataFrame(
        {
            "kind": ["intact", "skip", "skip", "shuffle", "shuffle", "swap", "swap"],
            "touched": [0, 2, 4, 2, 2, 2, 2],
            "units": ["", "1 2", "0 1 2 3", "2 1", "1 2", "0 1", "1 2"],
            "score": [1.0, 0.5, 0.1, 0.7, 0.8, 0.25, 0.75],
            "score_low": 0.05,
            "score_high": 0.95,
            "intact_error": 0.1,
            "chance": 0.25,
        }
    )
    assert headlines("rearrange", table) == [
        ("intact error", "10.00 %"),
        ("answers that are right by chance", "25.00 %"),
        ("score, shuffle, 2 units touched", "0.750  (2 orders: 0.700 to 0.800)"),
        ("score, skip, 2 units touched", "0.500  (95 %: 0.050 to 0.950)"),
        ("worst swap: units 0 1", "0.250"),
    ]
    unlabelled = table.iloc[[0, 5]].assign(intact_error=float("nan"))
    assert headlines("rearrange", unlabelled) == [
        ("answers that are right by chance", "25.00 %"),
        ("worst swap: units 0 1", "0.250"),
    ]


def test_prune_says_more_or_less_and_never_minus() -> None:
    rows = [{"order": "intact", "removed": 0, "error": 0.05, "agreement": 1.0}]
    for order, errors in (
        ("random", (0.3, 0.5)),
        ("greedy", (0.1, 0.2)),
        ("branch_norm", (0.05, 0.15)),
    ):
        rows += [
            {"order": order, "removed": k, "error": error, "agreement": 1 - error}
            for k, error in enumerate(errors, start=1)
        ]
    table = pd.DataFrame(rows).assign(speedup=float("nan"))
    table.loc[(table["order"] == "greedy") & (table["removed"] == 2), "speedup"] = 1.25
    assert headlines("prune", table) == [
        ("intact error", "5.00 %"),
        ("1 removed, greedy", "error 10.00 %"),
        ("2 removed, greedy", "error 20.00 %, 1.25 times as fast"),
        ("branch norm instead of greedy", "5.00 points less error, mean over 1 to 2 removed"),
        ("random instead of greedy", "25.00 points more error, mean over 1 to 2 removed"),
    ]
    unlabelled = headlines("prune", table.assign(error=float("nan")))
    assert unlabelled[-2:] == [
        ("branch norm instead of greedy", "5.00 points more agreement, mean over 1 to 2 removed"),
        ("random instead of greedy", "25.00 points less agreement, mean over 1 to 2 removed"),
    ]


def test_history() -> None:
    table = pd.DataFrame(
        {"epoch": [1, 2], "train_error": [0.5, 0.125], "test_error": [0.5, 0.25], "seconds": 30.0}
    )
    assert headlines("history", table) == [
        ("epochs", "2"),
        ("training error", "12.50 %"),
        ("test error", "25.00 %"),
        ("time", "1.0 min"),
    ]
    two = pd.concat([table.assign(run="a"), table.assign(run="b", test_error=0.75)])
    found = headlines("history", two)
    assert found[2] == ("a, test error", "25.00 %")
    assert found[6] == ("b, test error", "75.00 %")


@pytest.mark.parametrize("stem", [*(experiment.stem for experiment in EXPERIMENTS), "history"])
def test_every_table_has_its_words_beside_its_drawing(stem: str) -> None:
    module = import_module(f"resanalysis.figures.tables.{stem}")
    assert callable(getattr(module, stem))
    assert 0 < len(module.TITLE) < 50
    assert module.HOW_TO_READ.endswith(".")
    assert "Conclude" in module.HOW_TO_READ
