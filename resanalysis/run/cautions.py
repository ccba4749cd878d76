"""What a user must know before believing a table: said as notes, and recorded in the manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from resanalysis.errors import ResanalysisError

if TYPE_CHECKING:  # paths --depth needs no torch, and must not wait for it
    import pandas as pd

    from resanalysis.datasets import Dataset

# Of a command whose table has no intact error, it is measured on so many examples.
MOST_EXAMPLES = 256
# A recorded error is not what was measured where this interval of the difference leaves zero out. It is wider
# than others, as every command asks and a false alarm costs trust.
LEVEL = 0.99
# What these columns hold where a route does what the intact network does; below _STILL it is rounding.
UNCHANGED = {
    "agreement": 1.0, "kl": 0.0, "change_max": 0.0, "damage_ab": 0.0, "value": 0.0, "map_delta": 0.0,
}  # fmt: skip
_STILL = 1e-6


class Rate(NamedTuple):
    """An error, and the number of examples it was measured on."""

    error: float
    n: int


def cautions(subject: Any, frame: pd.DataFrame) -> list[str]:
    """Sentences on one command's main table; none where all is well.

    Parameters
    ----------
    subject : a ``Subject``, or ``Several``, whose rows the column ``model`` tells apart.
    """
    parts: dict[str, Any] = getattr(subject, "parts", None) or {subject.model: subject}
    notes: list[str] = []
    for label, part in parts.items():
        rows = frame
        if len(parts) > 1 and "model" in frame:
            rows = frame.loc[frame["model"] == label]
        intact = _intact(part, rows)
        if intact is not None:
            notes += [*_at_chance(label, part.data, intact), *_not_as_recorded(label, part, intact)]
        if nothing_changed(rows):
            notes.append(
                f"{label}: no route differs from the intact network in one answer: its branches add nothing, "
                "or what is altered does not reach the output"
            )
    return notes


def nothing_changed(frame: pd.DataFrame) -> bool:
    """Whether every row of a table of routes is the intact network's."""
    columns = {name: frame[name].to_numpy(float) for name in (*UNCHANGED, "loss") if name in frame}
    known = {name: values for name, values in columns.items() if not np.isnan(values).all()}
    there = [name for name in UNCHANGED if name in known]
    if not there or len(frame) < 2:
        return False
    apart = [np.nanmax(np.abs(known[name] - UNCHANGED[name])) for name in there]
    if "loss" in known:
        apart.append(np.nanmax(known["loss"]) - np.nanmin(known["loss"]))
    return max(apart) < _STILL


def _intact(part: Any, frame: pd.DataFrame) -> Rate | None:
    """The intact network's error: of the table, else measured on some examples."""
    data = part.data
    if data is None or data.labels is None or data.labels.ndim > 1:
        return None
    known = _in_table(frame)
    if known is not None:
        return None if np.isnan(known) else Rate(known, int(frame.attrs.get("n", len(data))))
    return _measured(part, data.limited(MOST_EXAMPLES))


def _measured(part: Any, data: Dataset) -> Rate | None:
    """The error on some examples; ``None`` of an output that is no logits."""
    from resanalysis.routes.evaluator import evaluate
    from resanalysis.routes.route import intact
    from resanalysis.run.packed import intact_score

    network = getattr(part, "network", None)
    if network is None:  # a model whose chain is not asked for
        found = intact_score(part.module, data, part.device)
        return Rate(found["error"], int(found["n"])) if found else None
    try:
        scores = evaluate(network, [intact(network)], data, device=part.device, fast=False)
    except ResanalysisError:
        return None
    return Rate(float(scores.mean("error")[0]), len(data))


def _in_table(frame: pd.DataFrame) -> float | None:
    if "intact_error" in frame:
        return float(frame["intact_error"].iloc[0])
    for column, intact in (("unit", -1), ("order", "intact"), ("swaps", 0), ("factor", 1.0)):
        if column in frame and "error" in frame:
            rows = frame.loc[frame[column] == intact, "error"]
            if len(rows):
                return float(rows.iloc[0])
    return None


def _at_chance(model: str, data: Any, intact: Rate) -> list[str]:
    from resanalysis.measures.chance import chance_error
    from resanalysis.statistics.intervals import wilson

    chance = chance_error(data)
    low, high = (float(end) for end in wilson(round(intact.error * intact.n), intact.n))
    if np.isnan(chance) or high < chance:
        return []
    verdict = "is at chance" if intact.error >= chance else "cannot be told from chance"
    return [
        f"{model} {verdict}: its error is {_percent(intact.error)} on {intact.n:,} examples (95 %: "
        f"{100 * low:.1f} to {100 * high:.1f}), and {_percent(chance)} are not of the most common class. What "
        "is measured on it says little; is it trained, are its images normalised and sized as in training, and "
        "are there enough of them?"
    ]


def _not_as_recorded(model: str, part: Any, intact: Rate) -> list[str]:
    from statsmodels.stats.proportion import confint_proportions_2indep

    info = getattr(part.module, "resanalysis", None)
    recorded = None if info is None else info.recorded
    data = part.data
    if recorded is None or data.accepted is not None or not recorded.is_of(data.classes):
        return []
    hits = (round(rate.error * rate.n) for rate in (intact, recorded))
    measured_hits, recorded_hits = hits
    # Two rates of examples that need not be the same: Newcombe's interval, which needs no pairs.
    low, high = confint_proportions_2indep(
        measured_hits, intact.n, recorded_hits, recorded.n, method="newcomb", alpha=1 - LEVEL
    )
    if low <= 0 <= high:
        return []
    return [
        f"{model} records an error of {_percent(recorded.error)} ({recorded.n:,} examples of {recorded.of}), "
        f"and {_percent(intact.error)} was measured on {intact.n:,} of {part.source}; the difference is beyond "
        f"chance (99 %: {100 * low:+.1f} to {100 * high:+.1f} points). If the data is the same, look at "
        "normalisation, image size and labels"
    ]


def _percent(rate: float) -> str:
    return f"{100 * rate:.2f} %"
