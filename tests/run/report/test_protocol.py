"""What captions state, and that the command of a section is one that makes it."""

from __future__ import annotations

import shlex
from typing import Any

import pandas as pd
import pytest
from typer.main import get_command

from resanalysis.cli import app
from resanalysis.experiments import EXPERIMENTS
from resanalysis.run.report.protocol import Asked, caption, command_of, spelled
from resanalysis.run.report.results import Result


def entry(**changes: object) -> dict[str, object]:
    return {"n": 10, "seed": 3, "options": {"data": "x.npz"}, "facts": {}, **changes}


@pytest.mark.parametrize(
    ("stem", "options", "facts", "text"),
    [
        ("lesion", {}, {}, "transitions are deleted too, and marked; seed 3."),
        ("lesion", {"part": "skip"}, {}, "the skip is cut here and the branch kept; seed 3."),
        (
            "lesion_many",
            {"removed": [1], "draws": 30},
            {"transitions": "excluded", "subset": "stratified subset of 10 from 20, seed 3"},
            "transitions are never deleted; 30 random draws per k; seed 3.",
        ),
        ("reorder", {"draws": 5}, {}, "transitions stay in place; 5 random orders; seed 3."),
        (
            "lesion",
            {},
            {"recalibrate": 600, "replace": "resample"},
            "and once more with statistics estimated on 600 examples that are not measured; a branch's output "
            "on another example stands in for it; transitions are deleted too, and marked; seed 3.",
        ),
    ],
)
def test_captions_state_the_protocol(
    stem: str, options: dict[str, object], facts: dict[str, object], text: str
) -> None:
    found = caption(stem, entry(options={"data": "x.npz", **options}, facts=facts))
    assert found.startswith("N = 10 examples of x.npz; ")
    assert "batch norm with its stored statistics (eval mode), weights untouched" in found
    assert found.endswith(text)
    assert str(facts.get("subset", "")) in found


def test_captions_where_nothing_is_random() -> None:
    assert caption("paths", entry(view={"units": 27})) == "27 units; nothing here is random."
    assert caption("paths", entry()) == "Nothing here is random."


OPTIONS: dict[str, dict[str, Any]] = {
    "lesion_many": {"removed": [1, 2, 3], "draws": 30, "transitions": "both"},
    "reorder": {"draws": 300},
    "gradients": {"method": ["exact", "rms"], "images": 32, "at": "input"},
    "unit_share": {"images": 32, "at": "first-unit"},
    "response": {"kinds": "3x3", "submodule": None},
    "prune": {"timing": 5.0},
    "shapley": {"orders": 10},
}
"""As a report records them."""


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda one: one.stem)
def test_the_command_of_a_section_is_one_there_is(experiment: Any) -> None:
    """Parsed as it would be run, with the values that the report used."""
    options = {
        "model": "m.pt",
        "data": "d.npz",
        "device": "cpu",
        **OPTIONS.get(experiment.stem, {}),
    }
    result = Result(experiment, entry(options=options), {experiment.stem: pd.DataFrame()})
    asked = Asked("my model.pt", {"": ("--data", "d.npz")}, "out")
    first, *words = shlex.split(command_of(result, asked))
    assert first == "resanalysis"
    group: Any = get_command(app)
    context = group.commands[words[0]].make_context(words[0], words[1:])
    given = context.params
    assert str(given["out"]) == "out"
    assert given["data"] == "d.npz"
    assert "my model.pt" in (given.get("model"), *(given.get("models") or ()))
    if experiment.stem == "lesion_many":
        assert (given["remove"], given["draws"], given["transitions"]) == ("1..3", 30, "both")
    if experiment.stem == "unit_share":
        assert (given["units"], given["limit"], given["at"]) == (True, 32, "first-unit")


def test_a_part_of_the_examples_is_the_limit() -> None:
    (experiment,) = (one for one in EXPERIMENTS if one.stem == "gradients")
    result = Result(experiment, entry(options={"images": 32}), {"gradients": pd.DataFrame()})
    asked = Asked("m.pt", {"gradients": ("--limit", "200", "--seed", "4")}, "out")
    assert command_of(result, asked) == ("resanalysis gradients m.pt --seed 4 --limit 32 --out out")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([1, 2, 3], "1..3"),
        ([1, 3], "1,3"),
        (["a", "b"], "a,b"),
        (0.5, "0.5"),
        ("x", "x"),
        ([4], "4"),
    ],
)
def test_options_are_spelled_as_the_command_line_takes_them(value: Any, text: str) -> None:
    assert spelled(value) == text
