"""What a figure's caption states, and the command that makes a section alone."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resanalysis.run.report.results import Result

TRANSITIONS = {
    "lesion": "transitions are deleted too, and marked",
    "eligible": "transitions may be deleted",
    "excluded": "transitions are never deleted",
    "both": "both protocols: transitions may be deleted, and transitions stay",
    "reorder": "transitions stay in place",
}
"""What a caption says of units that change the stream's shape, by protocol or by stem."""

STAND_INS = {
    "mean": "the mean of each channel of a branch stands in for it",
    "element-mean": "the mean of each element of a branch's output stands in for it",
    "resample": "a branch's output on another example stands in for it",
    "linear": "the affine map of channels that comes nearest to them stands in for units that are gone",
}
"""What a caption says of deleted branches, where something takes their place."""

# What the manifest's options name beside the experiment's own.
_NAMED = ("model", "data", "device")


@dataclass(frozen=True)
class Asked:
    """What the command line of a report said.

    Attributes
    ----------
    model : as the user named it.
    words : by command, the options that say how model and data are read, and the seed, as that command takes
        them; under "" for commands that are not there.
    out : the folder.
    """

    model: str
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    out: str = "results"


def caption(stem: str, entry: Mapping[str, Any]) -> str:
    """What a figure's caption has to state: N, data, batch norm, transitions, draws, seed.

    Parameters
    ----------
    entry : the command's entry in ``manifest.json``.
    """
    options: Mapping[str, Any] = entry.get("options") or {}
    if stem in ("paths", "inspect"):
        units = (entry.get("view") or {}).get("units") or options.get("units")
        return f"{units} units; nothing here is random." if units else "Nothing here is random."
    facts: Mapping[str, Any] = entry.get("facts") or {}
    parts = [
        f"N = {facts.get('n', entry.get('n'))} examples of {options.get('data')}",
        str(facts.get("subset") or ""),
        "batch norm with its stored statistics (eval mode), weights untouched",
        _again(facts),
        STAND_INS.get(str(facts.get("replace")), ""),
        TRANSITIONS.get(str(facts.get("transitions", stem)), ""),
        "the skip is cut here and the branch kept" if options.get("part") == "skip" else "",
        _kinds(stem, options),
        _draws(options),
        _whole(facts),
        f"seed {entry.get('seed')}",
    ]
    return "; ".join(part for part in parts if part) + "."


def _again(facts: Mapping[str, Any]) -> str:
    n = facts.get("recalibrate")
    again = f"and once more with statistics estimated on {n} examples that are not measured"
    return again if n else ""


def _whole(facts: Mapping[str, Any]) -> str:
    """How the intervals of what is measured over a whole data set are made."""
    over = facts.get("whole_interval")
    return f"{', '.join(facts['whole_metrics'])} over the whole data set: {over}" if over else ""


def _kinds(stem: str, options: Mapping[str, Any]) -> str:
    if "kinds" not in options:
        return ""
    kinds = options["kinds"]
    named = kinds if isinstance(kinds, str) else ", ".join(map(str, kinds))
    return f"layers of the kind {named}" if stem == "response" else named


def _draws(options: Mapping[str, Any]) -> str:
    if options.get("draws") is None:
        return ""
    return f"{options['draws']} random {'draws per k' if 'removed' in options else 'orders'}"


def command_of(result: Result, asked: Asked) -> str:
    """The command line that makes this section's files and nothing else.

    The experiment's options are spelled as ``Experiment.flags`` says, else by their names.
    """
    experiment = result.experiment
    command = experiment.command or experiment.stem
    shared = list(asked.words.get(command, asked.words.get("", ())))
    flags, own = dict(experiment.flags), list(experiment.always)
    for name, value in (result.entry.get("options") or {}).items():
        flag = flags.get(name, f"--{name.replace('_', '-')}")
        if name in _NAMED or not flag or value is None:
            continue
        if flag in shared:  # the experiment's own number of examples, of the report's
            at = shared.index(flag)
            del shared[at : at + 2]
        own += [flag, spelled(value)]
    return shlex.join(["resanalysis", command, asked.model, *shared, *own, "--out", asked.out])


def spelled(value: Any) -> str:
    """An option's value as the command line takes it: ``1..20``, ``exact,rms``, ``0.5``."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return str(value)
    items: list[Any] = list(value)
    whole = all(isinstance(item, int) for item in items)
    if whole and len(items) > 2 and items == list(range(items[0], items[-1] + 1)):
        return f"{items[0]}..{items[-1]}"
    return ",".join(str(item) for item in items)
