"""Models against each other: the same file twice, and who errs where, example by example."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resanalysis.figures.words import Finding, between
from resanalysis.run.report.listing import listed
from resanalysis.run.report.together import Pairs
from resanalysis.run.several import examples_sha256
from resanalysis.run.subject import Subject
from resanalysis.statistics.intervals import is_rate, paired_interval
from resanalysis.statistics.significance import holm, mcnemar_exact, wilcoxon_p

_LEVEL = 0.05
HOW = (
    "Models are compared on the same examples: n10 of them only the first has right, n01 only the second. "
    "p is of McNemar's exact test, corrected by Holm over the pairs; the interval is Agresti and Min's for "
    "paired rates."
)


def one_file(subjects: Mapping[str, Subject]) -> dict[str, str]:
    """Labels of models whose file an earlier label names too, with that label."""
    first: dict[str, str] = {}
    same: dict[str, str] = {}
    for label, subject in subjects.items():
        digest = subject.model_sha256
        if digest is not None and digest in first:
            same[label] = first[digest]
        elif digest is not None:
            first[digest] = label
    return same


def same_in_words(same: Mapping[str, str], subjects: Mapping[str, Subject]) -> list[str]:
    """A sentence for each model that is another's file."""
    return [
        f"{label} ({subjects[label].model}) and {other} ({subjects[other].model}) are one file, sha256 "
        f"{str(subjects[label].model_sha256)[:16]}…: it is measured once, as {other}."
        for label, other in same.items()
    ]


def errors_of(subject: Subject, **running: Any) -> NDArray[np.float64]:
    """Which examples the intact network has wrong (N,), 1 or a rate; NaN without labels."""
    from resanalysis.routes.evaluator import evaluate
    from resanalysis.routes.route import intact

    scores = evaluate(
        subject.network,
        [intact(subject.network)],
        subject.examples(),
        description=f"intact {subject.network.name}",
        **running,
    )
    return scores.values["error"][0].astype(np.float64)


def pairs_table(errors: Mapping[str, NDArray[np.float64]]) -> pd.DataFrame:
    """Every two models on the same examples.

    Parameters
    ----------
    errors : by label, of the same examples in the same order.

    Returns
    -------
    DataFrame : ``model_a``, ``model_b``, ``error_a``, ``error_b``, ``difference`` (a − b) with ``_low`` and
        ``_high``, ``n10`` and ``n01`` (right in the first alone, in the second alone), ``p_value`` (McNemar's
        exact test; Wilcoxon's of errors that are rates) and ``p_holm``.

    Source: McNemar 1947; Agresti and Min 2005; Holm 1979.
    """
    rows: list[dict[str, Any]] = []
    for (a, first), (b, second) in combinations(errors.items(), 2):
        rates = is_rate(first) and is_rate(second)
        ends = paired_interval(first, second)
        rows.append(
            {
                "model_a": a,
                "model_b": b,
                "error_a": float(first.mean()),
                "error_b": float(second.mean()),
                "difference": ends.mean,
                "difference_low": ends.low,
                "difference_high": ends.high,
                "n10": int(np.sum(first < second)),
                "n01": int(np.sum(first > second)),
                "p_value": (mcnemar_exact if rates else wilcoxon_p)(first, second),
            }
        )
    frame = pd.DataFrame(rows)
    return frame.assign(p_holm=holm(frame["p_value"].to_numpy(float)))


def pairs_of(subjects: Mapping[str, Subject], **running: Any) -> pd.DataFrame | None:
    """The table of the models that have labels and share their examples; ``None`` where no two do."""
    groups: dict[str, dict[str, Subject]] = {}
    for label, subject in subjects.items():
        if subject.data is not None and subject.data.labels is not None:
            groups.setdefault(examples_sha256(subject.data), {})[label] = subject
    tables = [
        pairs_table({label: errors_of(one, **running) for label, one in group.items()})
        for group in groups.values()
        if len(group) > 1
    ]
    if not tables:
        return None
    found = pd.concat(tables, ignore_index=True)
    # Over all pairs of the page, and not each group's own.
    return found.assign(p_holm=holm(found["p_value"].to_numpy(float)))


def on_page(table: pd.DataFrame) -> Pairs:
    """The table as the page shows it."""
    findings = [_finding(row) for row in table.to_dict("records")]
    return Pairs(HOW, listed("pairs", table), findings)


def _finding(row: Mapping[Any, Any]) -> Finding:
    """Which of two models errs less, and whether chance explains it."""
    sign = 1 if row["difference"] > 0 else -1
    names = (row["model_b"], row["model_a"])[::sign]
    low, high = sorted(sign * row[f"difference_{end}"] for end in ("low", "high"))
    known = (
        f"{row['n10']} examples only {row['model_a']} has right, {row['n01']} only {row['model_b']}; McNemar's "
        f"exact test, Holm: p = {row['p_holm']:.2g}"
    )
    if row["difference"] == 0:
        same = f"{row['model_a']} and {row['model_b']} err equally often."
        return Finding(same, f"{between(low, high)}; {known}")
    surely = "" if row["p_holm"] < _LEVEL else ", which chance explains"
    return Finding(
        f"{names[0]} errs on {100 * abs(row['difference']):.2f} points fewer examples than {names[1]}{surely}.",
        f"{between(low, high)}; {known}",
    )
