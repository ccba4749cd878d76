"""Options that were given, as words of another command line."""

from __future__ import annotations

from pathlib import Path

from resanalysis.cli.options import Group, Output, Source
from resanalysis.cli.said import said


def test_what_is_as_by_default_is_not_said() -> None:
    assert said(Source()) == ()


def test_options_are_said_by_their_own_flags() -> None:
    source = Source(limit=200, output_name="logits", group=Group.layer, remap=True, batch_size=8)
    assert said(source, ("batch_size",)) == (
        "--remap", "--group", "layer", "--output", "logits", "--limit", "200",
    )  # fmt: skip


def test_a_folder_is_said() -> None:
    assert said(Output(out=Path("x"), seed=3)) == ("--seed", "3", "--out", "x")
